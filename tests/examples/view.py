from html import escape

from IPython.display import HTML, display

from ondine_nb.orchestration import ExecutionObserver


class Line(ExecutionObserver):
    """One line of HTML under the cell, redrawn at most ten times a second."""

    def on_pipeline_start(self, pipeline, context):
        self.shown = display(HTML("starting"), display_id=True)

    def on_progress_update(self, context):
        self.shown.update(HTML(self.text(context)))

    def text(self, context):
        frame = escape(context.settings["frame"]["name"])  # text from outside is escaped
        return f"{frame}: <b>{context.done_rows:,}</b> of {context.total_rows:,} rows"

    def _nothing(self, *event):
        pass

    on_stage_start = on_stage_complete = on_stage_error = _nothing
    on_pipeline_complete = on_pipeline_error = _nothing
