"""What tests of a running service share: a start, and patience until it has come to rest."""

from __future__ import annotations

from nextlabel.backend.service.service import Service
from nextlabel.backend.store import Store
from nextlabel.connectors.records import Annotation, Hint
from nextlabel.connectors.testing import MemoryConnector
from tests.backend.memory_loop import ServiceFactory
from tests.waiting import wait_for


def about(*annotations: Annotation) -> Hint:
    """What a webhook would say of these."""
    return Hint(annotations={one.id: one.remote_id for one in annotations})


def started(make_service: ServiceFactory, platform: MemoryConnector, **options: object) -> Service:
    service = make_service(**options)
    before = len(platform.published)
    service.start()
    wait_for(lambda: len(platform.published) > before and service.status().state == "idle")
    return service


def tell(service: Service, store: Store, *annotations: Annotation) -> None:
    """A webhook speaks of these; they are in the log when this returns."""
    assert service.notify(about(*annotations))
    wanted = {(one.id, one.updated_at) for one in annotations}
    wait_for(lambda: wanted <= {(one.id, one.updated_at) for one in store.answers(drafts=True)})


def settled(service: Service, store: Store) -> bool:
    status = service.status()
    return status.generation_log_head == store.head() and status.state == "idle"
