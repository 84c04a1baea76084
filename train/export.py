"""A trained policy as a plain Hugging Face folder, and its way to the Hub. Not PEFT's business: give a merged model."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub

from retriever.base.bars import without_bars
from retriever.base.errors import IntegrityError, UserError
from retriever.base.files import write_json
from train.model_card import ModelCard, card_text

MARKER = "toolscout.json"  # tells an export of ours, which may be replaced, from a folder of the user's
SHARD = "5GB"
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def export_model(model: Any, tokenizer: Any, out: Path, *, card: ModelCard) -> Path:
    """Write safetensors, tokenizer, chat template, generation config and model card to `out`, all of it or nothing.

    An earlier export at `out` is replaced. Raises UserError when `out` holds anything else, IntegrityError when `model`
    still carries an adapter.
    """
    adapters = [name for name, _ in model.named_parameters() if "lora_" in name]
    if adapters:
        raise IntegrityError(f"the model to export carries an unmerged adapter ({adapters[0]}); merge it first")
    with _replacing(out) as partial:
        with without_bars():
            model.save_pretrained(partial, max_shard_size=SHARD)
        tokenizer.save_pretrained(partial)
        _generation_config(model, tokenizer).save_pretrained(partial)
        template = tokenizer.chat_template or ""
        (partial / "README.md").write_text(
            card_text(card, template_knows_tools="tools" in template), encoding="utf-8", errors="replace"
        )
        facts = {"name": card.name, "stage": card.stage, "dialect": card.dialect, "summary": dict(card.summary)}
        write_json(partial / MARKER, facts)
        for file in partial.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)  # safetensors writes 0600
    return out


def _generation_config(model: Any, tokenizer: Any) -> Any:
    """The model's own, ending where the loop ends a turn too: at the end-of-turn token."""
    config = deepcopy(model.generation_config)
    config._from_model_config = False  # else the reader derives it again from config.json
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    known = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    if end is not None and end != tokenizer.unk_token_id and end not in known:
        config.eos_token_id = [end, *(id for id in known if id is not None)]
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    return config


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its place when the body is done; an earlier export goes only then."""
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / MARKER).is_file())):
        raise UserError(f"export: {out} holds something that is no export of ours; give another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    earlier = partial.with_name(f"{partial.name}.earlier")
    try:
        yield partial
        partial.chmod(0o755)
        if out.exists():
            os.replace(out, earlier)  # a folder cannot be renamed over one that holds files
        os.replace(partial, out)
    except BaseException:
        if earlier.exists() and not out.exists():
            os.replace(earlier, out)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(earlier, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What was uploaded, or would be."""

    repo_id: str
    private: bool
    files: tuple[tuple[str, int], ...]  # path in the repository, bytes
    url: str | None  # None after a dry run

    @property
    def total_bytes(self) -> int:
        """Of all files."""
        return sum(size for _, size in self.files)

    def text(self) -> str:
        """For the terminal: each file, and what was or would be done."""
        width = max((len(name) for name, _ in self.files), default=0)
        lines = [f"{name:<{width}}  {_size(size):>9}" for name, size in self.files]
        kind = "private" if self.private else "public"
        done = f"uploaded to {self.url}" if self.url else f"would be uploaded to {self.repo_id}, {kind} when it is made"
        return "\n".join([*lines, f"{len(self.files)} files, {_size(self.total_bytes)}, {done}"])


def push_to_hub(
    folder: Path, repo_id: str, *, private: bool = False, dry_run: bool = False, endpoint: str | None = None
) -> Push:
    """Upload an exported folder to the Hugging Face Hub, or with `dry_run` only say what would be uploaded.

    `endpoint`: another Hub than huggingface.co (or HF_ENDPOINT).

    Raises UserError: no export, a name the Hub does not take, no token, offline, or what the Hub answered.
    """
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise UserError(f"push: {folder} holds no exported policy; make one with: toolscout export")
    if not REPO_ID.fullmatch(repo_id):
        raise UserError(f"push: {repo_id!r} is no repository name; give OWNER/NAME, e.g. me/my-toolscout")
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    files = tuple((name.as_posix(), (folder / name).stat().st_size) for name in visible)
    if dry_run:
        return Push(repo_id=repo_id, private=private, files=files, url=None)
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise UserError("push: HF_HUB_OFFLINE is set; unset it to upload, or use --dry-run")
    token = huggingface_hub.get_token()
    if token is None:
        raise UserError("push: no Hugging Face token; run `hf auth login` or set HF_TOKEN, or use --dry-run")
    api = huggingface_hub.HfApi(endpoint=endpoint, token=token)
    try:
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            allow_patterns=[name for name, _ in files],
            commit_message="Upload a policy trained with Toolscout",
        )
    except Exception as error:  # noqa: BLE001 - the client changes its HTTP library, and with it what it raises
        raise UserError(
            f"push: the Hub did not take {repo_id} ({_one_line(error)}); check token, name and network"
        ) from None
    return Push(repo_id=repo_id, private=private, files=files, url=str(url))


def _size(size: float) -> str:
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
