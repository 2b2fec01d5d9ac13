"""`edgeharfer app`: serve the web app."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Any

import click

from edgeharfer.cli.completion import complete_source
from edgeharfer.cli.extras import check_extra
from edgeharfer.cli.options import (
    config_option,
    decode_option,
    model_options,
    path_option,
    pipeline_options,
    source_spec,
)
from edgeharfer.cli.stopping import stop_signals
from edgeharfer.runtime.source import source_metavar


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; an address other than 127.0.0.1 requires a token.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True,
    help="Port to listen on; 0 = any free port.",
)  # fmt: skip
@click.option(
    "--browser/--no-browser", default=True, show_default=True,
    help="Open the page in the default browser; never without a display or over SSH.",
)  # fmt: skip
@click.option(
    "--name", "names", multiple=True, metavar="NAME",
    help="Host name of a reverse proxy in front of the app; repeatable. Requires a token.",
)  # fmt: skip
@path_option("--token-file", metavar="FILE", help="File with the access token; or set EDGEHARFER_APP_TOKEN.")
@click.option(
    "--source", "sources", type=source_spec, multiple=True, metavar=source_metavar(),
    shell_complete=complete_source,
    help="Source offered for the live view; repeatable. Remote clients can choose only these.",
)  # fmt: skip
@click.option(
    "--follow-redirects", is_flag=True,
    help="Allow streams to follow redirects and references to other servers.",
)  # fmt: skip
@decode_option
@path_option(
    "--messages", metavar="FILE.json", help="Messages for each emotion; default: built-in English ones."
)
@path_option("--context", metavar="FILE.json", help="Table from `train context`, used for likely actions.")
@click.option(
    "--fps", type=click.FloatRange(0, 60, min_open=True), default=4.0, show_default=True,
    help="Emotion samples per second of an upload.",
)  # fmt: skip
@click.option(
    "--max-upload-mb", type=click.FloatRange(0, 100_000, min_open=True), default=200.0, show_default=True,
    help="Maximum size of an upload, in MB.",
)  # fmt: skip
@click.option(
    "--max-video-s", type=click.FloatRange(1, 86_400), default=600.0, show_default=True,
    help="Maximum duration of an uploaded video, in seconds.",
)  # fmt: skip
@click.option(
    "--max-queued", type=click.IntRange(1, 1000), default=4, show_default=True,
    help="Maximum number of uploads queued or in progress.",
)  # fmt: skip
@click.option(
    "--keep-minutes", type=click.FloatRange(0, 10_080, min_open=True), default=15.0, show_default=True,
    help="Minutes after which reports are deleted.",
)  # fmt: skip
@click.option(
    "--idle-stop-s", type=click.FloatRange(0), default=0.0, show_default=True,
    help="Stop the live view after this many seconds without viewers; 0 = never.",
)  # fmt: skip
@path_option(
    "--upload-dir", metavar="DIR",
    help="Folder for uploads until they are analysed; default: a private temporary folder.",
)  # fmt: skip
@model_options
@config_option
def app(**options: Any) -> None:
    """Open the web app: live view, uploads, recordings and reports in a browser.

    \b
    edgeharfer app
    edgeharfer app --host 0.0.0.0 --token-file token.txt --source 0

    Everything stays on this machine. Uploads are deleted after their analysis, reports after --keep-minutes.
    """
    from edgeharfer.app.open_page import browser_process, has_desktop
    from edgeharfer.app.server import serve

    check_extra("app")  # imported later, by the process that writes reports
    settings = make_settings(options)
    logging.getLogger("edgeharfer").setLevel(logging.WARNING)
    with stop_signals() as stopping, ExitStack() as stack:

        def ready(address: str) -> None:
            click.echo(f"open {address}", err=True)
            if options["browser"] and has_desktop():
                stack.enter_context(browser_process(address))

        serve(settings, ready, stopping)


def make_settings(options: dict[str, Any]) -> Any:
    """Convert the options to the app's Settings."""
    from edgeharfer.app.access import read_token
    from edgeharfer.app.settings import Settings, UserLimits

    return Settings(
        host=options["host"],
        port=options["port"],
        names=tuple(options["names"]),
        token=read_token(options["token_file"]),
        sources=tuple(options["sources"]),
        follow_redirects=options["follow_redirects"],
        decode=options["decode"],
        pipeline=pipeline_options(options),
        signature_key=options["require_signature"],
        fps=options["fps"],
        messages=options["messages"],
        context=options["context"],
        idle_stop_s=options["idle_stop_s"],
        folder=options["upload_dir"],
        limits=UserLimits(
            upload_mb=options["max_upload_mb"],
            video_s=options["max_video_s"],
            queued=options["max_queued"],
            keep_s=60 * options["keep_minutes"],
        ),
    )
