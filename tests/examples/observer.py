from ondine_nb.orchestration import ExecutionObserver


class Alarm(ExecutionObserver):
    """Stops a run in which more than a share of the rows failed, and says so."""

    def __init__(self, share):
        self.share, self.rang = share, False

    def on_progress_update(self, context):
        if context.failed_rows > self.share * max(20, context.done_rows):
            self.rang = True
            context.control.stop("stopped")

    def on_pipeline_complete(self, context, result):
        print(f"{context.failed_rows} of {context.done_rows} rows failed")

    def _nothing(self, *event):
        pass

    on_pipeline_start = on_pipeline_error = _nothing
    on_stage_start = on_stage_complete = on_stage_error = _nothing
