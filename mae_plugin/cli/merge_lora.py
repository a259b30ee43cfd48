"""Make an ordinary checkpoint of one that holds low-rank adapters (LoRA).

    python tools/merge_lora.py work_dirs/RUN/epoch_12.pth merged.pth

The adapters are added to the weights that they were trained on, which are read from the file that
the run started from. What comes out is for the same config without LoRA, in any host, and for
export.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from mae_plugin.cli.run_config import user_errors
from mae_plugin.errors import UserError


def main() -> None:
    """Read, merge, write."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('checkpoint', help='of a run whose backbone is a LoRA')
    parser.add_argument('output', help='file to write, .pth')
    parser.add_argument('--config', help="the run's config, where the checkpoint has none")
    parser.add_argument(
        '--pretrained', help='file with the frozen weights, where it is no longer at its place'
    )
    args = parser.parse_args()
    with user_errors():
        from mmengine.config import Config

        import mae_plugin.models  # noqa: F401
        from mae_plugin.checkpoint.safe_load import safe_load
        from mae_plugin.checkpoint.stored_config import stored_config
        from mae_plugin.engine.fsdp import save_plain
        from mae_plugin.models.lora import LoRA
        from mae_plugin.registry import MODELS, builds

        content = safe_load(args.checkpoint)
        stored = Config.fromfile(args.config) if args.config else Config(stored_config(content))
        model: Any = stored.get('model') or {}
        backbone: Any = model.get('backbone')
        if not builds(MODELS, backbone, LoRA, 'mae_plugin'):
            raise UserError(
                f'{args.config or args.checkpoint} has no model.backbone of type LoRA: name the '
                "run's own config with --config"
            )
        if args.pretrained:
            backbone.module.init_cfg = dict(type='Pretrained', checkpoint=args.pretrained)
        lora = MODELS.build(backbone)
        prefix, state = 'backbone.', dict(content.get('state_dict', content))
        keys = [key for key in state if key.startswith(prefix)]
        adapters = {key.removeprefix(prefix): state.pop(key) for key in keys}
        try:
            lora.load_state_dict(adapters, strict=True)
        except RuntimeError as error:
            raise UserError(f'{args.checkpoint} does not fit its config: {error}') from error
        merged = {prefix + key: value for key, value in lora.merge().state_dict().items()}
        model.backbone = dict(backbone.module, init_cfg=None)
        meta = dict(content.get('meta') or {}, cfg=stored.pretty_text)
        save_plain(dict(meta=meta, state_dict=merged | state), args.output)
    print(f'{args.output}: {len(merged)} tensors of the backbone, {len(state)} of the rest')
