import io
import sys

import numpy as np
import pytest
import soundfile

from semanticodec.checkpoint import save
from semanticodec.cli import expand, main, target


@pytest.fixture
def weights(one_codec, tmp_path):
    path = tmp_path / "weights" / "small.safetensors"
    path.parent.mkdir()
    save(one_codec.model, path)
    return str(path)


@pytest.fixture
def clips(sound, tmp_path):
    for index, length in enumerate((3000, 20000)):
        soundfile.write(tmp_path / f"clip{index}.wav", sound(length, 22050)[0], 22050)
    return tmp_path


def test_encode_and_decode_a_pattern(weights, clips, capsys):
    coded, out = clips / "coded", clips / "out"
    assert main(["encode", f"{clips}/*.wav", "-o", str(coded), "--weights", weights]) == 0
    assert sorted(path.name for path in coded.iterdir()) == ["clip0.smc", "clip1.smc"]
    arguments = ["decode", f"{coded}/*.smc", "-o", str(out), "--weights", weights]
    assert main([*arguments, "--steps", "2"]) == 0
    wave, rate = soundfile.read(out / "clip1.wav")
    assert (len(wave), rate) == (20000, 22050)
    assert not capsys.readouterr().out


def test_results_go_beside_the_input_and_are_not_overwritten(weights, clips):
    source = str(clips / "clip0.wav")
    assert main(["encode", source, "--weights", weights]) == 0
    assert (clips / "clip0.smc").exists()
    assert main(["encode", source, "--weights", weights]) == 1
    assert main(["encode", source, "--weights", weights, "--force", "--entropy"]) == 0


def test_standard_input_and_output(weights, clips, monkeypatch, capsysbinary):
    data = (clips / "clip0.wav").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["encode", "-", "--weights", weights]) == 0
    stream = capsysbinary.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stream)))
    assert main(["decode", "-", "--weights", weights, "--steps", "1"]) == 0
    wave, rate = soundfile.read(io.BytesIO(capsysbinary.readouterr().out))
    assert (len(wave), rate) == (3000, 22050)
    assert np.abs(wave).max() <= 1


def test_one_bad_file_does_not_stop_the_others(weights, clips, capsys):
    (clips / "bad.wav").write_bytes(b"noise")
    out = clips / "coded"
    assert main(["encode", f"{clips}/*.wav", "-o", str(out), "--weights", weights]) == 1
    assert (out / "clip1.smc").exists()
    assert "bad.wav" in capsys.readouterr().err


def test_info(weights, clips, capsys):
    assert main(["info"]) == 0
    table = capsys.readouterr().out
    assert table.count("\n") == 13
    assert "1.3500" in table
    main(["encode", str(clips / "clip0.wav"), "--weights", weights])
    capsys.readouterr()
    assert main(["info", str(clips / "clip0.smc"), weights]) == 0
    said = capsys.readouterr().out
    assert "22050 Hz" in said
    assert "parameters" in said
    assert main(["info", str(clips / "clip0.wav")]) == 1


def test_convert(weights, tmp_path):
    output = tmp_path / "half.safetensors"
    arguments = ["convert", "--weights", weights, "--dtype", "bfloat16", "-o"]
    assert main([*arguments, str(output)]) == 0
    assert output.stat().st_size > 1000
    assert main([*arguments, str(tmp_path / "half.ckpt")]) == 2


def test_wrong_usage(weights, clips):
    assert main(["encode", f"{clips}/*.flac", "--weights", weights]) == 2
    assert main(["encode", f"{clips}/*.wav", "-o", "-", "--weights", weights]) == 2
    with pytest.raises(SystemExit) as stopped:
        main(["encode"])
    assert stopped.value.code == 2


def test_missing_weights_are_one_line(clips, capsys):
    assert main(["encode", str(clips / "clip0.wav"), "--weights", "/no/such/folder"]) == 1
    assert "no weights at /no/such/folder" in capsys.readouterr().err.replace("\n", " ")


def test_train_is_reached_with_all_its_options(tmp_path, clips):
    cache = tmp_path / "cache"
    assert main(["train", "data", "--folder", str(clips), "--cache", str(cache)]) == 0
    assert (cache / "clips.json").is_file()
    with pytest.raises(SystemExit, match="needs --config and --run"):
        main(["train", "vocoder", "--cache", str(cache)])
    with pytest.raises(SystemExit, match="configures the stage vocoder"):
        main(["train", "codec", "--config", "mini/vocoder", "--cache", str(cache),
              "--run", str(tmp_path)])  # fmt: skip


def test_targets(tmp_path):
    assert target("a/b.wav", None, ".smc", False) == "a/b.smc"
    assert target("a/b.wav", "c.smc", ".smc", False) == "c.smc"
    assert target("a/b.wav", str(tmp_path), ".smc", False) == str(tmp_path / "b.smc")
    assert target("-", None, ".smc", False) == "-"
    assert expand(["-", "-"]) == ["-"]


def test_files_encoded_together_are_as_if_alone(weights, clips, capsys):
    """Also where one of them has a fault, or is there already."""
    alone, together = clips / "alone", clips / "together"
    for index in range(2):
        arguments = ["encode", str(clips / f"clip{index}.wav"), "-o", f"{alone}/"]
        assert main([*arguments, "--weights", weights, "--seed", "4"]) == 0
    pattern = ["encode", f"{clips}/*.wav", "-o", str(together), "--weights", weights, "--seed", "4"]
    assert main(pattern) == 0
    for index in range(2):
        name = f"clip{index}.smc"
        assert (together / name).read_bytes() == (alone / name).read_bytes()
    (clips / "clip00.wav").write_bytes(b"noise")  # comes first
    assert main([*pattern, "--force"]) == 1
    talk = capsys.readouterr().err.replace("\n", "")
    assert "clip00.wav: cannot read" in talk
    assert "clip0.wav" not in talk
    assert "clip1.wav" not in talk
    for index in range(2):
        name = f"clip{index}.smc"
        assert (together / name).read_bytes() == (alone / name).read_bytes()
    (clips / "clip00.wav").unlink()
    (together / "clip1.smc").unlink()
    assert main(pattern) == 1
    assert "clip0.smc exists" in capsys.readouterr().err.replace("\n", "")
    assert (together / "clip1.smc").read_bytes() == (alone / "clip1.smc").read_bytes()
