import json

from ondine_nb.providers import FREE, Reply


class Shout:
    """Answers each prompt with its own text in capitals."""

    identity, model, price, note = "shout-1", "shout", FREE, ""

    async def open(self, settings, concurrency):
        self.most = settings.max_tokens

    async def send(self, prompt):
        words = prompt.upper().split()[: self.most]
        usage = {"input_tokens": len(prompt.split()), "output_tokens": len(words)}
        content = [{"type": "text", "text": " ".join(words)}]
        message = {"content": content, "stop_reason": "end_turn", "usage": usage}
        return Reply(json.dumps(message).encode())

    async def count_tokens(self, prompt):
        return len(prompt.split())

    def request_bytes(self, prompt):
        return len(prompt.encode())

    async def close(self):
        pass
