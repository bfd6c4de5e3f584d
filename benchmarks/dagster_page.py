"""A running Dagster webserver, spoken to as its own page does: by GraphQL."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import requests

_LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on UnauthorizedError { message }
    ... on PartitionSetNotFoundError { message }
    ... on InvalidSubsetError { message }
    ... on PartitionKeysNotFoundError { message }
  }
}
"""
_BACKFILL = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status numPartitions runs(limit: 200) { id status startTime endTime } }
    ... on PythonError { message }
  }
}
"""
_ENDED = {"COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"}


class DagsterPage:
    """`url` is that of the webserver. Raises RuntimeError for what it refuses."""

    def __init__(self, url: str, *, location: str = "guestguard") -> None:
        self._url = url
        self._repository = {"repositoryName": "__repository__", "repositoryLocationName": location}

    def backfill_assets(self, names: Sequence[str], partitions: Sequence[str]) -> str:
        return self._launch(
            {"assetSelection": [{"path": [name]} for name in names], "partitionNames": list(partitions), "title": "all"}
        )

    def backfill_job(self, job: str, partitions: Sequence[str], tags: Mapping[str, str] | None = None) -> str:
        return self._launch(
            {
                "selector": {"partitionSetName": f"{job}_partition_set", "repositorySelector": self._repository},
                "partitionNames": list(partitions),
                "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()],
            }
        )

    def wait_for(self, backfill_id: str, *, at_most: float) -> dict[str, Any]:
        """The backfill once it has ended: its status and its runs."""
        deadline = time.monotonic() + at_most
        while time.monotonic() < deadline:
            found: dict[str, Any] = self._ask(_BACKFILL, {"id": backfill_id})["partitionBackfillOrError"]
            if found.get("status") in _ENDED:
                return found
            time.sleep(0.5)
        raise RuntimeError(f"backfill {backfill_id} has not ended after {at_most:.0f} seconds")

    def _launch(self, params: dict[str, Any]) -> str:
        answer = self._ask(_LAUNCH, {"params": params})["launchPartitionBackfill"]
        if answer["__typename"] != "LaunchBackfillSuccess":
            raise RuntimeError(f"the backfill was refused: {answer}")
        backfill_id: str = answer["backfillId"]
        return backfill_id

    def _ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        answer = requests.post(f"{self._url}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
        if answer.get("errors"):
            raise RuntimeError(f"GraphQL refused: {answer['errors'][0]['message']}")
        data: dict[str, Any] = answer["data"]
        return data
