"""The report as one HTML page that needs no other file and no network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_octet.errors import MissingDependencyError
from keras_octet.validate import wording

if TYPE_CHECKING:
    from keras_octet.validate.report import ValidationReport

NUM_DRAWN_LAYERS = 6
NUM_DRAWN_OUTPUTS = 4


def require_html() -> None:
    """Check that what a page is made with is installed.

    Raises:
        MissingDependencyError: saying how to install it.
    """
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"A report as HTML needs jinja2 and matplotlib ({error.name} is missing). "
            "Install them with: pip install 'keras-octet[report]'"
        ) from error


def to_html(report: ValidationReport) -> str:
    """The page as text.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is missing.
    """
    require_html()
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_octet", "validate/page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html")
    return page.render(report=report, words=wording, figures=_figures(report)) + "\n"


def _figures(report: ValidationReport) -> dict[str, Any]:
    """The plots by name, marked as safe: Matplotlib and `plots` escape what they write."""
    from markupsafe import Markup

    from keras_octet.validate import plots

    worst = report.worst_layers(NUM_DRAWN_LAYERS)
    figures: dict[str, Any] = {
        "scatter": [
            Markup(plots.scatter_plot(output, i))
            for i, output in enumerate(report.outputs[:NUM_DRAWN_OUTPUTS])
            if output.points
        ],
        "worst": [
            {
                "row": row,
                "weights": Markup(plots.histogram_plot(row, "weights", i)) if row.weights else "",
                "activation": Markup(plots.histogram_plot(row, "activation", i))
                if row.activation
                else "",
            }
            for i, row in enumerate(worst)
        ],
        "layers": Markup(plots.layers_plot(report)) if worst else "",
        "trials": Markup(plots.trials_plot(report)) if len(report.trials) > 1 else "",
        "sizes": "",
        "latency": "",
    }
    if any(size.before and size.after for size in report.sizes):
        figures["sizes"] = Markup(plots.sizes_plot(report))
    if report.latencies:
        figures["latency"] = Markup(plots.latency_plot(report.latencies))
    return figures
