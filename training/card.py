"""The model card of a checkpoint, made from its facts and its report; and its way to the Hugging Face hub.

    python training/card.py runs/arabert/checkpoint --report runs/arabert/evaluation/report.json

`train.py` writes it for every run. Run by hand it takes another report, such as that of the test split.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from report import table
from tasrih.checkpoint import WEIGHTS_FILE, Checkpoint, CheckpointError
from tasrih.files import write_text_atomically
from tasrih.labels import LABELS

CARD_FILE = "README.md"


class HubError(ValueError):
    """The hub did not take a checkpoint; the message says what to do."""


def write(folder: Path, report: dict[str, Any], repository: str | None = None) -> None:
    """Write the card into the checkpoint's `folder`."""
    write_text_atomically(folder / CARD_FILE, render(Checkpoint.read(folder), report, repository))


def render(checkpoint: Checkpoint, report: dict[str, Any], repository: str | None = None) -> str:
    """Return the card's Markdown from a checkpoint's facts and a parsed `report.json`.

    Raises `ValueError` where the report is no such thing, or of other weights.
    """
    try:
        measured = report["model"]["files"].get(WEIGHTS_FILE)
    except (KeyError, TypeError, AttributeError):
        raise ValueError("found no report; expected the report.json that evaluation.py wrote") from None
    if measured != checkpoint.files.get(WEIGHTS_FILE):
        raise ValueError(
            f"the report is of other weights than {checkpoint.folder} holds; evaluate these first"
        )
    training = checkpoint.training
    config = training.get("config", {})
    encoder = str(config.get("model", {}).get("encoder", "unknown"))
    licence = str(config.get("model", {}).get("licence", "other"))
    hub = "/" in encoder  # of local paths the facts keep the last part alone
    front = [
        "---",
        "language: ar",
        f"license: {licence}",
        *([f"base_model: {encoder}"] if hub else []),
        "library_name: tasrih",
        "pipeline_tag: text-classification",
        "tags: [speech-acts, news, arabic]",
        "---",
    ]
    settings = [
        f"{section}.{key} = {json.dumps(value, ensure_ascii=False)}"
        for section in ("model", "optimizer", "objective", "speed")
        for key, value in config.get(section, {}).items()
    ]
    sentences = ", ".join(f"{count:,} {name}" for name, count in training.get("sentences", {}).items())
    parts = [
        "\n".join(front),
        f"# {checkpoint.name}",
        "Tags a sentence of Arabic news as accusation, denial, regret or factual report: an encoder "
        f"(`{encoder}`) fine-tuned with tasrih's training script.",
        "```python\nfrom tasrih import Classifier\n\n"
        f'classifier = Classifier.load("{repository or "this folder"}")\n'
        'classifier.classify("نفت الوزارة صحة ما تداولته مواقع التواصل")\n```',
        "Text is normalised as AraBERT v0.2 does, by tasrih itself: give it raw text. It reads "
        f"{checkpoint.max_length} tokens; longer text is cut, and `truncated` says so. The temperature, "
        f"{checkpoint.temperature:.3f}, and the threshold for second acts, "
        f"{checkpoint.secondary_threshold:.3f}, were fitted on the validation split.",
        "## Data",
        f"Sentences: {sentences}. Authored sentences, and news of ANT (Tunisian) and SANAD's Al-Khaleej "
        "where the user's copies of those corpora were at hand. Labels were given by language models under "
        "written guidelines; agreement between them shows consistency, not human truth. See tasrih's data "
        "card.",
        f"## How good it is, on the {report['split']} split",
        _results(report),
        f"Brackets hold {report['settings']['interval']:.0%} bootstrap intervals. Measured by "
        "`training/evaluation.py` through `tasrih.Classifier`."
        + (
            " The best epoch, the temperature and the threshold were chosen on these very sentences: expect "
            "less on others."
            if report["split"] == "validation"
            else ""
        ),
        *_slices(report),
        "## Limits and intended use",
        "- Meant for research on, and monitoring of, reported speech acts in Modern Standard Arabic news, in "
        "aggregate or with a reader who checks. Not for judging whether an accusation or denial is true, nor "
        "for decisions about people.\n"
        "- Dialect, social media, speech and verse are outside what it knows. One sentence is read without "
        "its article.\n"
        "- An accusation without an accusing verb, and a denial without a denying one, are where models of "
        "this data err most.",
        "## Training",
        "```toml\n" + "\n".join(settings) + "\n```",
        f"Seed {training.get('seed')}; "
        + ", ".join(f"{name} {number}" for name, number in training.get("libraries", {}).items())
        + ".",
        "## Licence and citation",
        (
            "The encoder's licence holds for these weights; see its model card. "
            if licence == "other"
            else f"{licence}. "
        )
        + "Cite as: tasrih maintainers, *tasrih: speech acts in Arabic news*, version 0.1.0, 2026"
        + (f", and the encoder {encoder}." if hub else "."),
    ]
    return "\n\n".join(parts) + "\n"


def _interval(rate: dict[str, float]) -> str:
    return f"{rate['value']:.3f} [{rate['low']:.3f}, {rate['high']:.3f}]"


def _results(report: dict[str, Any]) -> str:
    head = [
        "set",
        "sentences",
        "macro-F1",
        "accuracy",
        *(f"F1 {label}".replace("_", " ") for label in LABELS),
    ]
    rows = [
        [
            name,
            f"{m['n']:,}",
            _interval(m["macro_f1"]),
            _interval(m["accuracy"]),
            *(f"{m['labels'][str(label)]['f1']['value']:.3f}" for label in LABELS),
            f"{m['expected_calibration_error']:.3f}",
        ]
        for name, figures in report["sets"].items()
        for m in [figures["systems"]["model"]]
    ]
    return table([*head, "calibration error"], rows)


def _slices(report: dict[str, Any]) -> list[str]:
    """Say how natural sentences fare, which are what users meet; nothing where no news was measured."""
    slices = report["sets"].get("news", {}).get("sampled", {})
    if "natural" not in slices:
        return []
    natural = slices["natural"]["model"]
    found = natural["labels"]["accusation"]
    return [
        f"On the {natural['n']:,} news sentences that were drawn at random, accuracy is "
        f"{_interval(natural['accuracy'])}; of {found['support']} accusations it finds "
        f"{found['recall']['value']:.2f}, and {found['precision']['value']:.2f} of those it reports are some."
    ]


def push(folder: Path, repository: str) -> str:
    """Upload the checkpoint to the hub as `repository`, "owner/name", and return where it lies.

    Raises `HubError` where the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    checkpoint = Checkpoint.read(folder)
    names = [*checkpoint.files, "checkpoint.json", CARD_FILE]
    api = HfApi()
    try:
        api.create_repo(repository, exist_ok=True)
        done = api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=names)
    except Exception as error:  # errors of several HTTP clients, by version
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HubError(
            f"--push-to-hub {repository}: the hub did not take it ({reason}); the checkpoint lies whole in "
            f"{folder}. Log in with 'hf auth login', check the name and the connection, and start again"
        ) from error
    return str(done)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the model card of a checkpoint.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--report", type=Path, required=True, help="report.json that evaluation.py wrote")
    parser.add_argument("--push-to-hub", metavar="OWNER/NAME", help="and upload the checkpoint")
    arguments = parser.parse_args()
    try:
        report = json.loads(arguments.report.read_text(encoding="utf-8"))
        write(arguments.checkpoint, report, arguments.push_to_hub)
        print(arguments.checkpoint / CARD_FILE)
        if arguments.push_to_hub:
            print(push(arguments.checkpoint, arguments.push_to_hub))
    except (CheckpointError, HubError, OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
