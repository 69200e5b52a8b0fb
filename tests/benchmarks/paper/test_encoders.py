from __future__ import annotations

import pytest
import torch

from benchmarks.paper import encoders
from benchmarks.paper.decoding import Features, Flow, Frames, Photo, Spectrogram, Text
from benchmarks.paper.encoders import SIZES, make_encoder, make_tokenizer, shrink
from midas_core.data import DataError

TINY = SIZES["tiny"]


def made(decoder, size=TINY, pretrained=False):
    return make_encoder(decoder, size, pretrained=pretrained, vocabulary=20).eval()


def test_the_paper_has_resnet_18():
    encoder = made(Frames(3, 256), SIZES["paper"])
    # Of ResNet-18 without its last layer.
    assert sum(x.numel() for x in encoder.parameters()) == 11_176_512
    assert encoder.width == 512


@pytest.mark.parametrize(
    ("decoder", "shape", "kind"),
    [
        (Frames(3, 32), (2, 3, 3, 28, 28), torch.uint8),
        (Flow(3, 32), (2, 3, 2, 28, 28), torch.uint8),
        (Photo(32), (2, 1, 3, 28, 28), torch.uint8),
        (Spectrogram(1, 16000, 512, 159), (2, 1, 1, 257, 101), torch.float32),
        (Features(5), (2, 7, 5), torch.float32),
    ],
)
def test_a_feature_for_each_sample(decoder, shape, kind):
    encoder = made(decoder)
    features = encoder(torch.ones(shape, dtype=kind))
    assert features.shape == (2, encoder.width)
    assert features.isfinite().all()


def test_the_feature_of_a_clip_is_the_mean_over_its_images():
    encoder = made(Frames(2, 32))
    clip = torch.randint(256, (3, 2, 3, 28, 28), dtype=torch.uint8)
    each = [encoder(clip[:, k : k + 1]) for k in range(2)]
    torch.testing.assert_close(encoder(clip), (each[0] + each[1]) / 2)


def test_padding_changes_nothing():
    encoder = made(Features(5))
    x = torch.randn(2, 4, 5)
    torch.testing.assert_close(encoder(torch.cat([x, torch.zeros(2, 3, 5)], dim=1)), encoder(x))
    assert encoder(torch.zeros(2, 3, 5)).isfinite().all()


def test_a_small_tokenizer_knows_the_words_of_the_texts():
    tokenizer = make_tokenizer(["a tweet [SEP] a name"], TINY)
    found = tokenizer(["a name [SEP] unheard"], return_tensors="pt")
    assert tokenizer.convert_ids_to_tokens(found["input_ids"][0]) == ["[CLS]", "a", "name", "[SEP]", "[UNK]", "[SEP]"]
    assert max(tokenizer.get_vocab().values()) < len(tokenizer)
    encoder = make_encoder(Text(8), TINY, pretrained=True, vocabulary=len(tokenizer))
    tokens = {name: found[name] for name in ("input_ids", "attention_mask")}
    assert encoder(tokens).shape == (1, encoder.width)


def test_weights_that_are_not_to_be_had_are_said(monkeypatch):
    from transformers import ResNetModel

    def missing(name):
        raise OSError(f"cannot find {name}\nand more")

    monkeypatch.setattr(ResNetModel, "from_pretrained", missing)
    with pytest.raises(
        DataError, match=r"^microsoft/resnet-18: expected its weights .*, got cannot find microsoft/resnet-18$"
    ):
        made(Photo(256), SIZES["paper"], pretrained=True)


def test_small_clips_for_small_encoders():
    decoders = {"text": Text(8), "image": Photo(256), "audio": Spectrogram(1, 16000, 512, 159)}
    assert shrink(decoders, TINY) == {**decoders, "image": Photo(32)}


def test_weights_of_this_machine_are_loaded(tmp_path, monkeypatch):
    from transformers import ElectraConfig, ElectraModel, ResNetConfig, ResNetModel

    resnet = ResNetModel(ResNetConfig(num_channels=3, **TINY.resnet))
    electra = ElectraModel(ElectraConfig(vocab_size=9, **TINY.electra))
    for model, name in ((resnet, "RESNET"), (electra, "ELECTRA")):
        model.save_pretrained(tmp_path / name)
        monkeypatch.setattr(encoders, name, str(tmp_path / name))
    make_tokenizer(["a b"], TINY).save_pretrained(tmp_path / "ELECTRA")
    image, text = (made(decoder, SIZES["paper"], pretrained=True) for decoder in (Photo(256), Text(8)))
    for given, loaded in ((resnet, image.resnet), (electra, text.electra)):
        torch.testing.assert_close(loaded.state_dict(), given.state_dict())
    assert make_tokenizer([], SIZES["paper"])(["a b"])["input_ids"] == [[2, 4, 5, 3]]
