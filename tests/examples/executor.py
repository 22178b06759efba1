from ondine_nb.orchestration import ExecutionStrategy, run_stages


class Gentle(ExecutionStrategy):
    """Runs one row at a time, in the order of the frame, and ends at the first that fails."""

    name = "gentle"

    def supports_async(self):
        return True

    def supports_streaming(self):
        return False

    async def execute(self, stages, context):
        return await run_stages(stages, context, width=1, on_error="stop")
