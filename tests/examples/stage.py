from ondine_nb.errors import RowError
from ondine_nb.stages import Column, PipelineStage, RowStage


class Length(RowStage):
    """Adds the length of the answer; an answer that only repeats the text fails its row."""

    columns = ("text",)
    produces = (Column("length", "int", ()),)

    async def process_row(self, row, context):
        answer = row.outputs["response"]
        if answer == row["text"]:
            raise RowError("the answer repeats the text")
        row.outputs["length"] = len(answer)


class Longest(PipelineStage):
    """Sorts the finished frame, the longest answer first."""

    def process(self, input_data, context):
        return input_data.sort_values("length", ascending=False)
