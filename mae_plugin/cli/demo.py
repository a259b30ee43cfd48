"""A page to play with: hide patches of a picture and see what a MAE makes of them.

    python tools/demo.py work_dirs/RUN/epoch_800.pth
    python tools/demo.py mae_visualize_vit_large.pth dinov2_vitb14.pth     # side by side

Any run of this project, official files with a decoder, and any other ViT file (then attention,
likeness and colours alone). The page is at http://127.0.0.1:7860, for this machine alone unless
--host says otherwise. It needs gradio: pip install 'mae_plugin[demo]'.
"""

import os
import socket
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from mae_plugin.cli.run_config import user_errors
from mae_plugin.errors import UserError


def parse_args() -> Namespace:
    """Command line."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('checkpoints', nargs='+', metavar='CHECKPOINT', help='shown side by side')
    parser.add_argument('--config', help="the model's config, where a checkpoint has none")
    parser.add_argument('--num-heads', type=int, help='of an encoder whose file cannot tell')
    parser.add_argument('--bands', type=int, nargs='+', help='one or three channels to show')
    parser.add_argument('--device', help='cuda where there is one, else cpu')
    parser.add_argument(
        '--host', default='127.0.0.1', help='address to listen on; 0.0.0.0 lets others in'
    )
    parser.add_argument('--port', type=int, default=7860)
    return parser.parse_args()


def check_port(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on, before any model is loaded.

    Raises:
        UserError: If it is taken, or not of this machine.
    """
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise UserError(
            f'{host}:{port} cannot be listened on ({error}): choose another with --port'
        ) from error


def main() -> None:
    """Load the checkpoints and serve the page until interrupted."""
    args = parse_args()
    with user_errors():
        try:
            import gradio  # noqa: F401
        except ImportError:
            raise UserError(
                "the page needs gradio: pip install 'mae_plugin[demo]', or pip install gradio"
            ) from None
        check_port(args.host, args.port)
        # Threads that wait leave the cores to the browser. Read once, when torch is imported.
        os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
        import torch

        from mae_plugin.cli.demo_page import CSS, make_page
        from mae_plugin.visualization.explorer import Explorer

        device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
        explorers = [
            Explorer(path, args.config, args.num_heads, device, args.bands)
            for path in args.checkpoints
        ]
        page = make_page(explorers)
        page.launch(
            server_name=args.host,
            server_port=args.port,
            share=False,
            allowed_paths=[],
            max_file_size='64mb',
            show_error=True,
            footer_links=['gradio'],
            run_history=False,
            enable_monitoring=False,
            app_kwargs=dict(openapi_url=None),
            css=CSS,
        )
