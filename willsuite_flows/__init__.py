"""All that a notebook or a script needs, from any folder: `from willsuite_flows import ...`.

Belongs here: names of other modules, and nothing else.
"""

from flows.bulk_update_cases import bulk_update_cases
from flows.export_accounts import export_accounts
from flows.export_cases import export_cases
from flows.import_cases import import_cases
from flows.runs import EndedRun, RunFailedError, latest_run, outcomes, rejects, run_and_wait
from flows.sync_appointments import sync_appointments
from flows.undo import undo_bulk_update
from flows.update_cases import update_cases
from flows.writing import IncompleteRunError
from protocols.exports import changes_since, export_views, read_export

__all__ = [
    "EndedRun",
    "IncompleteRunError",
    "RunFailedError",
    "bulk_update_cases",
    "changes_since",
    "export_accounts",
    "export_cases",
    "export_views",
    "import_cases",
    "latest_run",
    "outcomes",
    "read_export",
    "rejects",
    "run_and_wait",
    "sync_appointments",
    "undo_bulk_update",
    "update_cases",
]
