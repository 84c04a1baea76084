"""The chat client and the simulator, against a real server that speaks OpenAI's protocol."""

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from envs.chat_client import ChatClient, ChatConfig, _retry_after_s
from envs.executors.backend import Reply
from envs.executors.record import Recorded
from envs.executors.record_store import RecordStore
from envs.executors.routed import CallLimits, RoutedExecutor
from envs.executors.simulator import SYSTEM, Simulator, parsed_reply, request_prompt
from envs.types import ToolStatus
from retriever.base.errors import InfraError, UserError
from retriever.service import listening
from retriever.tools import ToolDoc

Answer = Callable[[dict[str, Any], int], str | Response]  # (body, how many came before) → what the model says


class Model:
    """A chat endpoint in a thread."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.at: list[float] = []
        self._answer = answer

    async def handle(self, request: Request) -> Response:
        body, before = json.loads(await request.body()), len(self.asked)
        self.asked.append(body)
        self.headers.append(request.headers)
        self.at.append(time.monotonic())
        answer = await asyncio.to_thread(self._answer, body, before)
        if isinstance(answer, Response):
            return answer
        return JSONResponse({"choices": [{"message": {"role": "assistant", "content": answer}}]})


def after(seconds: float, said: str) -> Answer:
    def answer(body: dict[str, Any], before: int) -> str:
        time.sleep(seconds)
        return said

    return answer


@contextmanager
def serving(answer: Answer | str) -> Iterator[tuple[str, Model]]:
    """(base URL, the model behind it)."""
    said = answer
    model = Model((lambda body, before: said) if isinstance(said, str) else said)
    taken = listening("127.0.0.1", 0)
    app = Starlette(routes=[Route("/v1/chat/completions", model.handle, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1", model
    finally:
        server.should_exit = True
        thread.join()


def complete(url: str, *, within_s: float = 60.0, content: str = "Hello", **options: Any) -> str:
    async def asked() -> str:
        client = ChatClient(ChatConfig(base_url=url, model="m", **options))
        return await client.complete([{"role": "user", "content": content}], within_s=within_s)

    return asyncio.run(asked())


class TestClient:
    def test_asks_as_configured(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEACHER_KEY", " secret\n")
        options: dict[str, Any] = {"temperature": 0.5, "max_tokens": 7, "seed": 3, "api_key_variable": "TEACHER_KEY"}
        with serving("Hi") as (url, model):
            assert complete(f"{url}/", content="é \ud800", **options) == "Hi"
        (asked,) = model.asked
        assert asked == {
            "model": "m",
            "messages": [{"role": "user", "content": "é ?"}],
            "temperature": 0.5,
            "max_tokens": 7,
            "seed": 3,
        }
        assert model.headers[0]["authorization"] == "Bearer secret"

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_what_passes_is_tried_again(self, status: int) -> None:
        with serving(lambda body, before: "at last" if before == 2 else Response(status_code=status)) as (url, model):
            assert complete(url) == "at last"
        assert len(model.asked) == 3
        assert model.at[1] - model.at[0] >= 0.12
        assert model.at[2] - model.at[1] >= 0.25

    @pytest.mark.parametrize("written", ["1", lambda: formatdate(time.time() + 2, usegmt=True)])
    def test_the_server_says_when_to_come_back(self, written: Any) -> None:
        def answer(body: dict[str, Any], before: int) -> str | Response:
            header = written if isinstance(written, str) else written()
            return "at last" if before else Response(status_code=429, headers={"retry-after": header})

        with serving(answer) as (url, model):
            assert complete(url) == "at last"
        assert 0.95 <= model.at[1] - model.at[0] < 3

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [("7", 7), ("-3", 0), ("100000", 60), ("inf", 0), ("soon", 0), (f"1 Jan {10**16} 00:00:00 GMT", 0)],
    )
    def test_a_server_is_obeyed_for_a_minute_at_most(self, header: str, seconds: float) -> None:
        assert _retry_after_s(header) == seconds
        assert _retry_after_s(formatdate(time.time() + 100_000, usegmt=True)) == 60

    def test_it_does_not_wait_longer_than_the_caller(self) -> None:
        started = time.monotonic()
        with (
            serving(lambda body, before: Response(status_code=429, headers={"retry-after": "60"})) as (url, _),
            pytest.raises(InfraError, match=r"gave no completion in 1 tries \(HTTP 429\)"),
        ):
            complete(url, within_s=3)
        assert time.monotonic() - started < 20  # of the minute that the server asks for

    def test_a_slow_answer_is_none(self) -> None:
        def answer(body: dict[str, Any], before: int) -> str:
            time.sleep(0.0 if before else 1.0)
            return "quick"

        with serving(answer) as (url, model):
            assert complete(url, timeout_s=0.3) == "quick"
            assert len(model.asked) == 2
        with (
            serving(after(0.5, "late")) as (url, _),
            pytest.raises(InfraError, match="none in 0.2"),
        ):
            complete(url, within_s=0.2)

    def test_nobody_there(self) -> None:
        with listening("127.0.0.1", 0) as taken:
            url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(InfraError, match="in 2 tries .*ConnectError.*is it running"):
            complete(url, retries=1)

    def test_a_refusal_is_final(self) -> None:
        with serving(lambda body, before: Response("no such model", status_code=404)) as (url, model):
            with pytest.raises(InfraError, match="HTTP 404: no such model"):
                complete(url)
            assert len(model.asked) == 1

    def test_an_answer_has_its_bounds(self) -> None:
        with serving("x" * 100_000) as (url, _), pytest.raises(InfraError, match="more than 50,000 bytes"):
            complete(url, response_bytes=50_000)

    @pytest.mark.parametrize(
        "body", ["", "[]", "{", '{"choices": []}', '{"choices": [{"message": {"content": null}}]}', "[" * 100_000]
    )
    def test_what_is_no_completion_is_said_to_be_none(self, body: str) -> None:
        with serving(lambda _, before: Response(body)) as (url, _), pytest.raises(InfraError, match="no completion"):
            complete(url)

    def test_event_loops_come_and_go_and_leave_nothing_open(self) -> None:
        with serving("Hi") as (url, _):
            client = ChatClient(ChatConfig(base_url=url, model="m"))
            held = len(os.listdir("/proc/self/fd"))
            for _ in range(30):
                assert asyncio.run(client.complete([])) == "Hi"
            assert len(os.listdir("/proc/self/fd")) <= held + 4  # the server closes its ends a little later

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({"base_url": "127.0.0.1:8000"}, "base_url='127.0.0.1:8000' is no address"),
            ({"base_url": "ftp://host/v1"}, "is no address"),
            ({"model": ""}, "model is empty"),
            ({"max_tokens": 0}, "max_tokens=0 is not positive"),
            ({"timeout_s": float("nan")}, "timeout_s=nan is not positive"),
            ({"retries": -1}, "retries=-1 is negative"),
            ({"temperature": -0.1}, "temperature=-0.1"),
        ],
    )
    def test_bad_configs_are_refused(self, bad: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=message):
            ChatConfig(**{"base_url": "http://h/v1", "model": "m", **bad})

    def test_a_key_that_is_not_there_is_missed_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_KEY", "schlüssel")
        with pytest.raises(UserError, match="holds no key; set it") as caught:
            ChatClient(ChatConfig(base_url="http://h/v1", model="m", api_key_variable="NO_KEY"))
        assert "schl" not in str(caught.value)


WEATHER = ToolDoc(
    id="Weather/Open Weather 1%2F2/now",
    name="now_for_open_weather",
    description="The weather of a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Its name"}, "unit": {"type": "string"}},
        "required": ["city"],
    },
    origin="simulator",
    tags=("Weather",),
)


def simulated(url: str, *, timeout_s: float = 10.0) -> Reply:
    async def run() -> Reply:
        backend = Simulator(ChatClient(ChatConfig(base_url=url, model="m")))
        async with backend.session() as session:
            reply = await session.run(WEATHER, {"city": "Oslo"}, timeout_s=timeout_s)
        await backend.close()
        return reply

    return asyncio.run(run())


class TestSimulator:
    def test_asks_as_mirrorapi_is_asked(self) -> None:
        with serving('{"error": "", "response": "4 °C"}') as (url, model):
            assert simulated(url) == Reply(text="4 °C", served_from="simulator")
        system, user = model.asked[0]["messages"]
        assert system == {"role": "system", "content": SYSTEM}
        documentation, request = user["content"].removeprefix("API doc:\n").split("\n\nRequest:\n")
        assert json.loads(documentation) == {
            "api_name": "now",
            "api_description": "The weather of a city.",
            "required_parameters": [{"name": "city", "type": "string", "description": "Its name"}],
            "optional_parameters": [{"name": "unit", "type": "string"}],
            "tool_description": "",
            "tool_name": "Open Weather 1/2",
            "tool_category": "Weather",
        }
        assert json.loads(request) == {"city": "Oslo"}

    def test_any_tool_can_be_simulated(self) -> None:
        tool = ToolDoc(id="add", name="add", description="Adds", parameters={"type": "object"})
        assert '"api_name": "add"' in request_prompt(tool, {})

    def test_an_error_is_the_tools(self) -> None:
        with serving('{"error": "no such city", "response": ""}') as (url, _):
            assert simulated(url).status is ToolStatus.TOOL_ERROR

    def test_garbage_is_asked_again_and_told_so(self) -> None:
        with serving(lambda body, before: '{"response": "4"}' if before else "Sure! It is 4.") as (url, model):
            assert simulated(url).text == "4"
        assert [message["role"] for message in model.asked[1]["messages"]] == ["system", "user", "assistant", "user"]

    def test_garbage_twice_is_our_failure(self) -> None:
        with serving("Sure!") as (url, _), pytest.raises(InfraError, match="gave no .*, twice: 'Sure!'"):
            simulated(url)

    def test_a_slow_model_is_our_failure_not_the_tools(self) -> None:
        with serving(after(1, "late")) as (url, model):
            executor = RoutedExecutor(
                {"simulator": Simulator(ChatClient(ChatConfig(base_url=url, model="m")))},
                CallLimits(timeout_s=0.5, infra_retries=0),
            )
            result = asyncio.run(executor.call(WEATHER, {"city": "Oslo"}))
        assert result.status is ToolStatus.INFRA_ERROR
        assert len(model.asked) == 1

    def test_recorded_once_it_needs_no_model(self, tmp_path: Any) -> None:
        async def run(front: Recorded) -> list[tuple[str, str]]:
            replies = [await front.run(WEATHER, {"city": "Oslo"}, timeout_s=5) for _ in range(2)]
            await front.close()
            return [(reply.text, reply.served_from) for reply in replies]

        with serving(lambda body, before: json.dumps({"error": "", "response": f"reply {before}"})) as (url, model):
            simulator = Simulator(ChatClient(ChatConfig(base_url=url, model="m")))
            live = asyncio.run(run(Recorded(simulator, RecordStore(tmp_path / "r"), policy="replay_then_call")))
            assert len(model.asked) == 1
        assert live == [("reply 0", "simulator"), ("reply 0", "replay")]
        again = asyncio.run(run(Recorded(None, RecordStore(tmp_path / "r"), policy="replay_only")))
        assert again == [("reply 0", "replay")] * 2


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('{"error": "", "response": "a"}', {"error": "", "response": "a"}),
        ('Here:\n```json\n{"error": "", "response": "a"}\n```\nDone {}.', {"error": "", "response": "a"}),
        ('<think>{"error": "x"}</think>{"error": "", "response": {"a": [1]}}', {"error": "", "response": {"a": [1]}}),
        ('{"error": "", "response": "line\nline"}', {"error": "", "response": "line\nline"}),
        ('{"error": "", "response": "{"status": 0}"}', {"error": "", "response": '{"status": 0}'}),
        ('```json\n{"error": "", "response": "{"a": "b"}"\n}\n```', {"error": "", "response": '{"a": "b"}'}),
        ('{"error": "", "response": "cut in the mid', {"error": "", "response": "cut in the mid"}),
        ('{"error": "bad city", "response": ""}', {"error": "bad city", "response": ""}),
        ('{"response": 0}', {"response": 0}),
        ('{"error": "", "response": ""}', None),
        ('{"answer": 4}', None),
        ("", None),
        ("{" * 100_000, None),
        ('{"error": ' * 10_000, None),
    ],
)
def test_replies_are_read_generously(said: str, expected: dict[str, Any] | None) -> None:
    started = time.perf_counter()
    assert parsed_reply(said) == expected
    assert time.perf_counter() - started < 1
