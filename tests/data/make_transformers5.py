"""Make ``transformers5.safetensors``: tiny models of transformers 5, and what they compute.

The suite runs with transformers 4, which mmpretrain needs and which has no Pixio; modules of
DINOv2 and DINOv3 have other names there. In an environment of its own::

    python -m venv /tmp/tf5 && /tmp/tf5/bin/pip install torch 'transformers==5.24.0' safetensors
    /tmp/tf5/bin/python tests/data/make_transformers5.py

Of each model are kept: ``NAME/memory/KEY``, its state dict, ``NAME/file/KEY``, what
``save_pretrained`` writes, and ``NAME/tokens/HxW``, its last tokens of :func:`images`.
"""

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.models.dinov2.configuration_dinov2 import Dinov2Config
from transformers.models.dinov2.modeling_dinov2 import Dinov2Model
from transformers.models.dinov3_vit.configuration_dinov3_vit import DINOv3ViTConfig
from transformers.models.dinov3_vit.modeling_dinov3_vit import DINOv3ViTModel
from transformers.models.pixio.configuration_pixio import PixioConfig
from transformers.models.pixio.modeling_pixio import PixioModel

SIZES = ((16, 16), (24, 24), (16, 32))
SHARED = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=4
)


def images(height: int, width: int) -> Tensor:
    """One image, the same in every version of torch."""
    return torch.arange(3 * height * width).mul(0.37).sin().reshape(1, 3, height, width)


def randomised(model: nn.Module) -> nn.Module:
    """Random weights everywhere, scales about one."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        is_scale = 'norm' in name and name.endswith('weight')
        parameter.data = torch.randn(parameter.shape) * 0.2 + is_scale
    return model.eval()


MODELS = {
    'pixio': lambda: PixioModel(PixioConfig(n_cls_tokens=3, **SHARED)),
    'dinov2-giant': lambda: Dinov2Model(Dinov2Config(use_swiglu_ffn=True, **SHARED)),
    'dinov3-plus': lambda: DINOv3ViTModel(
        DINOv3ViTConfig(
            use_gated_mlp=True, hidden_act='silu', intermediate_size=24, num_register_tokens=2,
            **SHARED,
        )
    ),
}  # fmt: skip


@torch.no_grad()
def main() -> None:
    """Write the file beside this one."""
    kept: dict[str, Tensor] = {}
    for name, make in MODELS.items():
        model = randomised(make())
        kept |= {f'{name}/memory/{key}': value for key, value in model.state_dict().items()}
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            stored = load_file(Path(folder) / 'model.safetensors')
        kept |= {f'{name}/file/{key}': value for key, value in stored.items()}
        for h, w in SIZES:
            kept[f'{name}/tokens/{h}x{w}'] = model(images(h, w)).last_hidden_state
    kept = {key: value.clone().contiguous() for key, value in kept.items()}
    save_file(kept, Path(__file__).with_name('transformers5.safetensors'))


if __name__ == '__main__':
    main()
