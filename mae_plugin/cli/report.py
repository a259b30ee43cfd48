"""Write the report of a run as one HTML file: curves, pictures over time, scores, configuration.

    python tools/report.py work_dirs/RUN                 # writes work_dirs/RUN/report.html
    python tools/report.py work_dirs/RUN --out run.html

Works at any time, while the run is going on too. The file needs nothing else and no network.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter

from mae_plugin.cli.run_config import user_errors


def main() -> None:
    """Read the work dir, write the page."""
    parser = ArgumentParser(
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('work_dir', help='work dir of a run')
    parser.add_argument('--out', help='file to write; report.html in the work dir by default')
    args = parser.parse_args()
    with user_errors():
        from mae_plugin.visualization.report import write_report

        print(write_report(args.work_dir, args.out))
