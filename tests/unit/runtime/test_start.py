"""What a start needs before it can answer the kubelet, and what it says when it can not go on."""

import pathlib
import subprocess
import sys

import pytest
from penstock_runtime import errors, main, settings


def test_the_server_listens_before_mlflow_is_imported() -> None:
    heavy = "print(sorted({'mlflow', 'pandas', 'sklearn'} & set(__import__('sys').modules)))"
    program = f"import penstock_runtime.main, penstock_runtime.server; {heavy}"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_settings_have_defaults() -> None:
    read = settings.read({"MLFLOW_TRACKING_PASSWORD": "hidden"})
    assert read == settings.Settings(
        identity=settings.Identity(),
        limits=settings.Limits(),
        model_directory=pathlib.Path("/model"),
        host="0.0.0.0",
        port=8080,
        answers_port=8081,
        tracking_uri="",
        download_timeout=1800.0,
        secrets=("hidden",),
    )


def test_settings_are_read() -> None:
    read = settings.read(
        {
            "PENSTOCK_MODEL_NAME": "fraud",
            "PENSTOCK_MODEL_VERSION": "3",
            "PENSTOCK_MAX_BODY_BYTES": "1000",
            "PENSTOCK_BATCH_MAX_SIZE": "1",
            "PENSTOCK_BATCH_MAX_DELAY_MILLISECONDS": "1.5",
            "PENSTOCK_DRAIN_SECONDS": "0",
            "PENSTOCK_PORT": "81",
            "PENSTOCK_ANSWERS_PORT": "0",
            "PENSTOCK_ANSWERS_KEPT": "10",
            "PENSTOCK_ANSWERS_PERCENT": "2.5",
        }
    )
    assert read.limits == settings.Limits(
        body_bytes=1000, batch_size=1, batch_delay=0.0015, drain=0.0, answers_kept=10, answers_percent=2.5
    )
    assert (read.port, read.answers_port, read.identity.title) == (81, 0, "model fraud version 3")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PENSTOCK_PORT", "http", "PENSTOCK_PORT is 'http'; set it to a whole number of at least 0"),
        ("PENSTOCK_BATCH_MAX_SIZE", "0", "PENSTOCK_BATCH_MAX_SIZE is '0'; set it to a whole number of at least 1"),
        ("PENSTOCK_ANSWERS_PORT", "off", "PENSTOCK_ANSWERS_PORT is 'off'; set it to a whole number of at least 0"),
        ("PENSTOCK_ANSWERS_KEPT", "0", "PENSTOCK_ANSWERS_KEPT is '0'; set it to a whole number of at least 1"),
        ("PENSTOCK_ANSWERS_PERCENT", "101", "PENSTOCK_ANSWERS_PERCENT is '101'; set it to a number from 0 to 100"),
        ("PENSTOCK_ANSWERS_PERCENT", "-1", "PENSTOCK_ANSWERS_PERCENT is '-1'; set it to a number of at least 0"),
        ("PENSTOCK_DRAIN_SECONDS", "-1", "PENSTOCK_DRAIN_SECONDS is '-1'; set it to a number of at least 0"),
        ("PENSTOCK_DRAIN_SECONDS", "nan", "PENSTOCK_DRAIN_SECONDS is 'nan'; set it to a number of at least 0"),
        ("PENSTOCK_DRAIN_SECONDS", "inf", "PENSTOCK_DRAIN_SECONDS is 'inf'; set it to a number of at least 0"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, value: str, sentence: str) -> None:
    with pytest.raises(errors.Failure) as raised:
        settings.read({name: value})
    assert str(raised.value) == sentence


SECRETS = {
    "http://user:pa%20ss@mlflow:5000/api failed": "http://***@mlflow:5000/api failed",
    "s3://key:secret@bucket/path": "s3://***@bucket/path",
    "GET https://store/a?X-Amz-Signature=abc&b=1 failed": "GET https://store/a?*** failed",
    "it was hunter2, and hunter2 again": "it was ***, and *** again",
    "http://mlflow:5000/x": "http://mlflow:5000/x",
}


@pytest.mark.parametrize(("text", "clean"), SECRETS.items())
def test_secrets_are_taken_out(text: str, clean: str) -> None:
    assert errors.redact(text, ["hunter2"]) == clean


def test_a_sentence_goes_to_the_termination_log(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    errors.report("the password hunter2 is wrong", log, ["hunter2"])
    assert log.read_text() == capsys.readouterr().err == "the password *** is wrong\n"


def test_a_long_sentence_is_cut(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    errors.report("a" * 10_000, log, [])
    assert log.read_text() == "a" * 1499 + "…\n"


def test_a_termination_log_that_can_not_be_written_is_no_second_failure(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    errors.report("it is wrong", tmp_path / "missing" / "log", [])
    assert capsys.readouterr().err.splitlines()[0] == "it is wrong"


def test_a_command_is_needed() -> None:
    with pytest.raises(SystemExit) as raised:
        main.main([])
    assert raised.value.code == 2
