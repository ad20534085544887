"""Turn a run into one HTML page that opens from disk, with no network and no server."""

from equiscope.report.files import load_document, save_report, show_circuits, show_verification
from equiscope.report.page import render_page
from equiscope.report.schema import (
    AlternativeEntry,
    ConfirmationEntry,
    FamilyEntry,
    ImagesEntry,
    KindsEntry,
    LayerEntry,
    LinkEntry,
    MemberEntry,
    ModelEntry,
    NullEntry,
    PictureEntry,
    ReportDocument,
    ResultEntry,
    SettingsEntry,
    TuningEntry,
    UnitCounts,
    VerificationEntry,
)

__all__ = [
    "AlternativeEntry",
    "ConfirmationEntry",
    "FamilyEntry",
    "ImagesEntry",
    "KindsEntry",
    "LayerEntry",
    "LinkEntry",
    "MemberEntry",
    "ModelEntry",
    "NullEntry",
    "PictureEntry",
    "ReportDocument",
    "ResultEntry",
    "SettingsEntry",
    "TuningEntry",
    "UnitCounts",
    "VerificationEntry",
    "load_document",
    "render_page",
    "save_report",
    "show_circuits",
    "show_verification",
]
