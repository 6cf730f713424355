"""Architectures of PyPI's model zoos in small sizes, with random weights: how each is built and what it takes.

Nothing is imported before a network is built, so that the table can be read without the zoos.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

CNNS, VISION, DENSE = "convolutional", "vision transformer", "detection, segmentation"
LANGUAGE, AUDIO = "language", "audio"
BATCH = 2
_LENGTH = 16
_WORDS = 100
_SAMPLES_OF_SOUND = 1600
_LAST_POOLINGS = (7, 13, 14)
_KEPT: list[torch.library.Library] = []


@dataclass(frozen=True)
class Input:
    """One argument of a network.

    Attributes:
        shape: Its shape, without the batch.
        kind: ``float`` (normal numbers), ``tokens`` (whole numbers below `words`) or ``mask`` (ones, and zeros behind
            the end of a sentence).
        keyword: Name of the argument; None for one by position.
        words: How many different tokens there are.
    """

    shape: tuple[int, ...]
    kind: str = "float"
    keyword: str | None = None
    words: int = _WORDS

    def info(self) -> dict[str, Any]:
        """Entry of a config's ``input_info``."""
        entry: dict[str, Any] = {"sample_size": [BATCH, *self.shape]}
        if self.kind != "float":
            entry |= {"type": "long", "filler": "ones"}
        return entry | ({"keyword": self.keyword} if self.keyword else {})

    def data(self, samples: int, numbers: torch.Generator) -> Tensor:
        """Random data."""
        shape = (samples, *self.shape)
        if self.kind == "tokens":
            return torch.randint(self.words, shape, generator=numbers)
        if self.kind == "mask":
            ends = torch.randint(self.shape[-1] // 2, self.shape[-1] + 1, (samples, 1), generator=numbers)
            return (torch.arange(self.shape[-1]) < ends).long()
        return torch.randn(shape, generator=numbers)


@dataclass(frozen=True)
class Network:
    """One architecture.

    Attributes:
        name: Name in the table.
        group: Kind of architecture.
        source: Package that it comes from.
        build: Makes it, with random weights.
        inputs: Its arguments, in order, those by keyword last.
        ignored_scopes: What is left out of the search, where the config without it is refused and says so.
    """

    name: str
    group: str
    source: str
    build: Callable[[], nn.Module]
    inputs: tuple[Input, ...]
    ignored_scopes: tuple[str, ...] = ()


def declare_torchvision_operators() -> None:
    """Let torchvision load beside a build of torch other than its own.

    Its compiled operators then stay away, and it fails where it describes two of them that do not exist.
    """
    if hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "DEF")
    _KEPT.append(library)  # an operator lives as long as its library
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def _from(module: str, function: str, /, **arguments: Any) -> nn.Module:
    """Network of a class or function."""
    network: nn.Module = getattr(import_module(module), function)(**arguments)
    return network


def _of_config(model: str, config: str, /, **settings: Any) -> nn.Module:
    """Network of transformers."""
    package = import_module("transformers")
    network: nn.Module = getattr(package, model)(getattr(package, config)(**settings))
    return network


def _image(side: int) -> tuple[Input, ...]:
    return (Input((3, side, side)),)


def _of_any_side(name: str, **arguments: Any) -> nn.Module:
    """Network of pytorchcv; where it ends in a pooling of 7x7 or more, that takes what there is."""
    network = _from("pytorchcv.model_provider", "get_model", name=name, **arguments)
    for module in list(network.modules()):
        for key, child in module.named_children():
            if isinstance(child, nn.AvgPool2d) and child.kernel_size in _LAST_POOLINGS:
                setattr(module, key, nn.AdaptiveAvgPool2d(1))
    return network


def _pytorchcv(group: str, name: str, side: int, **arguments: Any) -> Network:
    return Network(name, group, "pytorchcv", partial(_of_any_side, name, **arguments), _image(side))


def _timm(group: str, name: str, side: int, function: str, **arguments: Any) -> Network:
    return Network(name, group, "timm", partial(_from, "timm.models", function, **arguments), _image(side))


def _transformers(group: str, name: str, model: str, inputs: tuple[Input, ...], **settings: Any) -> Network:
    build = partial(_of_config, model, f"{_family(model)}Config", **settings)
    return Network(name, group, "transformers", build, inputs)


def _resmlp() -> nn.Module:
    layers = import_module("timm.models.mlp_mixer")
    return _from(
        "timm.models", "MlpMixer", img_size=32, patch_size=8, embed_dim=48, num_blocks=2, num_classes=10, mlp_ratio=4,
        block_layer=layers.ResBlock, norm_layer=layers.Affine,
    )  # fmt: skip


def _family(model: str) -> str:
    for end in ("ForImageClassification", "ForCausalLM", "ForMaskedLM", "LMHeadModel", "ForConditionalGeneration",
                "ForObjectDetection", "ForSemanticSegmentation", "ForAudioClassification", "ForCTC", "EncoderModel",
                "ForSequenceClassification", "Model"):  # fmt: skip
        if model.endswith(end):
            return model.removesuffix(end)
    raise ValueError(f"model: received {model}; allowed are names that end as those of transformers do")


_IDS = Input((_LENGTH,), "tokens", "input_ids")
_MASK = Input((_LENGTH,), "mask", "attention_mask")
_PIXELS = Input((3, 32, 32), keyword="pixel_values")
_LARGER_PIXELS = Input((3, 64, 64), keyword="pixel_values")
_SOUND = Input((_SAMPLES_OF_SOUND,), keyword="input_values")
_BERT = {
    "vocab_size": _WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 64,
}  # fmt: skip
_LLAMA = {**_BERT, "num_key_value_heads": 1, "use_cache": False, "pad_token_id": 0}
_SPEECH = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 32,
    "conv_dim": (32, 32, 32), "conv_kernel": (10, 3, 3), "conv_stride": (5, 2, 2), "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4, "apply_spec_augment": False, "layerdrop": 0.0,
}  # fmt: skip
_RESNET_BACKBONE = {"model_type": "resnet", "embedding_size": 16, "hidden_sizes": [16, 32, 48, 64],
                    "depths": [1, 1, 1, 1], "out_features": ["stage4"]}  # fmt: skip

_ALL = [
    _pytorchcv(CNNS, "resnet20_cifar10", 32),
    _pytorchcv(CNNS, "preresnet20_cifar10", 32),
    _pytorchcv(CNNS, "densenet40_k12_cifar10", 32),
    _pytorchcv(CNNS, "nin_cifar10", 32),
    _pytorchcv(CNNS, "diaresnet20_cifar10", 32),
    _pytorchcv(CNNS, "xdensenet40_2_k24_bc_cifar10", 32),
    _pytorchcv(CNNS, "shufflenetv2_wd2", 64, in_size=(64, 64)),
    _pytorchcv(CNNS, "shufflenet_g3_wd4", 64, in_size=(64, 64)),
    _pytorchcv(CNNS, "mobilenetv2_wd4", 64, in_size=(64, 64)),
    _pytorchcv(CNNS, "mobilenetv3_small_w7d20", 64, in_size=(64, 64)),
    _pytorchcv(CNNS, "regnetx002", 64, in_size=(64, 64)),
    _pytorchcv(CNNS, "squeezenet_v1_1", 64, in_size=(64, 64)),
    _pytorchcv(CNNS, "darknet_tiny", 64, in_size=(64, 64)),
    _pytorchcv(CNNS, "dla46c", 64, in_size=(64, 64)),
    _pytorchcv(CNNS, "mnasnet_small", 64, in_size=(64, 64)),
    _pytorchcv(CNNS, "condensenet74_c8_g8", 64, in_size=(64, 64)),
    _timm(CNNS, "ghostnet", 64, "create_model", model_name="ghostnet_050"),
    _timm(CNNS, "efficientnet_b0", 64, "create_model", model_name="efficientnet_b0", num_classes=10),
    _timm(CNNS, "tf_mobilenetv3_small", 64, "create_model", model_name="tf_mobilenetv3_small_075", num_classes=10),
    _timm(CNNS, "repvgg", 32, "create_model", model_name="repvgg_a0", num_classes=10),
    _timm(CNNS, "convnext", 32, "ConvNeXt", depths=(1, 1, 2, 1), dims=(16, 24, 32, 48), num_classes=10),
    _timm(CNNS, "inception_v3", 96, "create_model", model_name="inception_v3", num_classes=10),
    _timm(CNNS, "nf_regnet", 64, "create_model", model_name="nf_regnet_b0", num_classes=10),
    _timm(CNNS, "bit_resnetv2", 64, "ResNetV2", layers=(1, 1, 1, 1), channels=(128, 128, 128, 128), stem_chs=32,
          num_classes=10),
    _timm(CNNS, "hgnetv2", 64, "create_model", model_name="hgnetv2_b0", num_classes=10),
    _pytorchcv(DENSE, "enet_cityscapes", 64, in_size=(64, 64)),
    _pytorchcv(DENSE, "fastscnn_cityscapes", 64, in_size=(64, 64)),
    _pytorchcv(DENSE, "lednet_cityscapes", 64, in_size=(64, 64)),
    _pytorchcv(DENSE, "cgnet_cityscapes", 64, in_size=(64, 64)),
    Network(
        "unet", DENSE, "pytorchcv",
        partial(_from, "pytorchcv.models.unet", "UNet", channels=[[16, 24, 32, 32], [32, 24, 16, 12]],
                init_block_channels=12, in_size=(64, 64)), _image(64),
    ),
    Network(
        "lraspp_mobilenetv3", DENSE, "torchvision",
        partial(_from, "torchvision.models.segmentation", "lraspp_mobilenet_v3_large", weights=None,
                weights_backbone=None, num_classes=5), _image(64),
    ),
    _pytorchcv(DENSE, "lffd20x5s320v2_widerface", 128, in_size=(128, 128)),
    _transformers(DENSE, "segformer", "SegformerForSemanticSegmentation", (_LARGER_PIXELS,),
                  hidden_sizes=[16, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2],
                  decoder_hidden_size=32, num_labels=5),
    _transformers(DENSE, "yolos", "YolosForObjectDetection", (_LARGER_PIXELS,), hidden_size=32, num_hidden_layers=2,
                  num_attention_heads=2, intermediate_size=64, image_size=[64, 64], patch_size=8,
                  num_detection_tokens=8, num_labels=5),
    _transformers(DENSE, "detr", "DetrForObjectDetection", (_LARGER_PIXELS,), backbone_config=_RESNET_BACKBONE,
                  d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=64, decoder_ffn_dim=64,
                  encoder_attention_heads=2, decoder_attention_heads=2, num_queries=8, num_labels=5),
    _timm(VISION, "vit", 32, "VisionTransformer", img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=2,
          num_classes=10),
    _timm(VISION, "deit", 32, "VisionTransformerDistilled", img_size=32, patch_size=8, embed_dim=48, depth=2,
          num_heads=2, num_classes=10),
    _timm(VISION, "swin", 64, "SwinTransformer", img_size=64, patch_size=4, embed_dim=24, depths=(2, 2),
          num_heads=(2, 4), window_size=4, num_classes=10),
    _timm(VISION, "beit", 32, "Beit", img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=2, num_classes=10,
          use_rel_pos_bias=True, init_values=0.1),
    _timm(VISION, "levit", 64, "Levit", img_size=64, embed_dim=(32, 48), depth=(1, 1), num_heads=(2, 3), key_dim=16,
          num_classes=10),
    _timm(VISION, "mlp_mixer", 32, "MlpMixer", img_size=32, patch_size=8, embed_dim=48, num_blocks=2, num_classes=10),
    Network("resmlp", VISION, "timm", _resmlp, _image(32)),
    _timm(VISION, "poolformer", 64, "MetaFormer", depths=(1, 1, 1, 1), dims=(16, 24, 32, 48), num_classes=10),
    _timm(VISION, "mobilevit", 64, "create_model", model_name="mobilevit_xxs", num_classes=10),
    _timm(VISION, "pvt_v2", 64, "PyramidVisionTransformerV2", depths=(1, 1, 1, 1), embed_dims=(16, 24, 32, 48),
          num_heads=(1, 2, 2, 3), num_classes=10),
    _timm(VISION, "xcit", 32, "create_model", model_name="xcit_nano_12_p8_224", img_size=32, depth=2, num_classes=10),
    _timm(VISION, "edgenext", 64, "create_model", model_name="edgenext_xx_small", num_classes=10),
    _transformers(VISION, "hf_vit", "ViTForImageClassification", (_PIXELS,), image_size=32, patch_size=8,
                  hidden_size=48, num_hidden_layers=2, num_attention_heads=2, intermediate_size=96),
    _transformers(VISION, "dinov2", "Dinov2Model", (_PIXELS,), image_size=32, patch_size=8, hidden_size=48,
                  num_hidden_layers=2, num_attention_heads=2),
    _transformers(LANGUAGE, "bert", "BertModel", (_IDS, _MASK), **_BERT),
    _transformers(LANGUAGE, "distilbert", "DistilBertForSequenceClassification", (_IDS, _MASK), vocab_size=_WORDS,
                  dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64),
    _transformers(LANGUAGE, "roberta", "RobertaForSequenceClassification", (_IDS, _MASK), **_BERT),
    _transformers(LANGUAGE, "albert", "AlbertModel", (_IDS, _MASK), **_BERT, embedding_size=24),
    _transformers(LANGUAGE, "electra", "ElectraForSequenceClassification", (_IDS, _MASK), **_BERT, embedding_size=24),
    _transformers(LANGUAGE, "deberta_v2", "DebertaV2Model", (_IDS, _MASK), **_BERT, relative_attention=True,
                  pos_att_type=["p2c", "c2p"], position_buckets=8, share_att_key=True),
    _transformers(LANGUAGE, "gpt2", "GPT2LMHeadModel", (_IDS,), vocab_size=_WORDS, n_embd=32, n_layer=2, n_head=2,
                  n_positions=64, use_cache=False, bos_token_id=0, eos_token_id=0),
    _transformers(LANGUAGE, "llama", "LlamaForCausalLM", (_IDS,), **_LLAMA),
    _transformers(LANGUAGE, "qwen2", "Qwen2ForCausalLM", (_IDS, _MASK), **_LLAMA),
    _transformers(LANGUAGE, "t5", "T5ForConditionalGeneration",
                  (_IDS, Input((_LENGTH,), "tokens", "decoder_input_ids")),
                  vocab_size=_WORDS, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_decoder_layers=1, num_heads=2,
                  use_cache=False),
    _transformers(LANGUAGE, "mamba", "MambaForCausalLM", (_IDS,), vocab_size=_WORDS, hidden_size=32,
                  num_hidden_layers=2, state_size=8, use_cache=False, pad_token_id=0),
    _transformers(LANGUAGE, "clip", "CLIPModel", (_IDS, _PIXELS),
                  text_config={**_BERT, "projection_dim": 24}, projection_dim=24,
                  vision_config={"image_size": 32, "patch_size": 8, "hidden_size": 48, "num_hidden_layers": 2,
                                 "num_attention_heads": 2, "intermediate_size": 96}),
    _transformers(AUDIO, "wav2vec2", "Wav2Vec2ForCTC", (_SOUND,), **_SPEECH),
    _transformers(AUDIO, "hubert", "HubertModel", (_SOUND,), **_SPEECH),
    _transformers(AUDIO, "audio_spectrogram_transformer", "ASTForAudioClassification",
                  (Input((64, 32), keyword="input_values"),), hidden_size=32, num_hidden_layers=2,
                  num_attention_heads=2, intermediate_size=64, patch_size=8, frequency_stride=8, time_stride=8,
                  max_length=64, num_mel_bins=32),
    _transformers(AUDIO, "whisper", "WhisperForConditionalGeneration",
                  (Input((16, 64), keyword="input_features"), Input((8,), "tokens", "decoder_input_ids")),
                  vocab_size=_WORDS, num_mel_bins=16, d_model=32, encoder_layers=1, decoder_layers=1,
                  encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64,
                  max_source_positions=32, max_target_positions=16, use_cache=False, pad_token_id=0, bos_token_id=1,
                  eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None),
    _transformers(LANGUAGE, "llama_with_mask", "LlamaForCausalLM", (_IDS, _MASK), **_LLAMA),
    replace(
        _transformers(AUDIO, "wav2vec2_as_advised", "Wav2Vec2ForCTC", (_SOUND,), **_SPEECH),
        ignored_scopes=("{re}.*pos_conv_embed.*",),
    ),
]  # fmt: skip
NETWORKS = {network.name: network for network in _ALL}
