"""Turn a run into one HTML page that opens from disk, with no network and no server."""

from equiscope.report.page import (
    FamilyEntry,
    ImagesEntry,
    LayerEntry,
    MemberEntry,
    ModelEntry,
    NullEntry,
    ReportDocument,
    SettingsEntry,
    UnitCounts,
    render_page,
)

__all__ = [
    "FamilyEntry",
    "ImagesEntry",
    "LayerEntry",
    "MemberEntry",
    "ModelEntry",
    "NullEntry",
    "ReportDocument",
    "SettingsEntry",
    "UnitCounts",
    "render_page",
]
