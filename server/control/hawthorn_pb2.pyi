from collections.abc import Iterable as _Iterable
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar

from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper

DESCRIPTOR: _descriptor.FileDescriptor

class Numbers(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NUMBERS_UNSPECIFIED: _ClassVar[Numbers]
    FLOAT32: _ClassVar[Numbers]
    FLOAT64: _ClassVar[Numbers]
    FLOAT16: _ClassVar[Numbers]
NUMBERS_UNSPECIFIED: Numbers
FLOAT32: Numbers
FLOAT64: Numbers
FLOAT16: Numbers

class Run(_message.Message):
    __slots__ = ("error", "finished", "id", "name", "settings", "started", "status", "version")
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: str | None = ..., value: str | None = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    status: str
    started: str
    finished: str
    error: str
    version: str
    settings: _containers.ScalarMap[str, str]
    def __init__(self, id: int | None = ..., name: str | None = ..., status: str | None = ..., started: str | None = ..., finished: str | None = ..., error: str | None = ..., version: str | None = ..., settings: _Mapping[str, str] | None = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Iterable[float] | None = ...) -> None: ...

class Round(_message.Message):
    __slots__ = ("accepted", "at", "metrics", "number", "refused", "rejected", "rolled_back", "seconds", "skipped")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Metric
        def __init__(self, key: str | None = ..., value: Metric | _Mapping | None = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    ROLLED_BACK_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    number: int
    skipped: str
    rolled_back: str
    seconds: float
    at: str
    accepted: int
    rejected: int
    refused: int
    metrics: _containers.MessageMap[str, Metric]
    def __init__(self, number: int | None = ..., skipped: str | None = ..., rolled_back: str | None = ..., seconds: float | None = ..., at: str | None = ..., accepted: int | None = ..., rejected: int | None = ..., refused: int | None = ..., metrics: _Mapping[str, Metric] | None = ...) -> None: ...

class Standing(_message.Message):
    __slots__ = ("evidence", "name", "quarantines", "since", "until", "words")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    QUARANTINES_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    since: int
    until: int
    evidence: float
    quarantines: float
    words: str
    def __init__(self, name: str | None = ..., since: int | None = ..., until: int | None = ..., evidence: float | None = ..., quarantines: float | None = ..., words: str | None = ...) -> None: ...

class Client(_message.Message):
    __slots__ = ("accepted", "held", "identity", "last_reason", "last_round", "name", "node", "refused", "rejected", "rounds", "standing")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    LAST_ROUND_FIELD_NUMBER: _ClassVar[int]
    LAST_REASON_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    identity: str
    name: str
    node: str
    rounds: int
    accepted: int
    rejected: int
    refused: int
    last_round: int
    last_reason: str
    standing: Standing
    held: bool
    def __init__(self, identity: str | None = ..., name: str | None = ..., node: str | None = ..., rounds: int | None = ..., accepted: int | None = ..., rejected: int | None = ..., refused: int | None = ..., last_round: int | None = ..., last_reason: str | None = ..., standing: Standing | _Mapping | None = ..., held: bool | None = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("accepted", "admitted", "client", "name", "p_value", "reason", "round", "scores", "standing", "weight")
    class ScoresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: str | None = ..., value: float | None = ...) -> None: ...
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    client: str
    admitted: bool
    accepted: bool
    weight: float
    p_value: float
    scores: _containers.ScalarMap[str, float]
    reason: str
    standing: str
    round: int
    name: str
    def __init__(self, client: str | None = ..., admitted: bool | None = ..., accepted: bool | None = ..., weight: float | None = ..., p_value: float | None = ..., scores: _Mapping[str, float] | None = ..., reason: str | None = ..., standing: str | None = ..., round: int | None = ..., name: str | None = ...) -> None: ...

class Order(_message.Message):
    __slots__ = ("at", "by", "client", "failure", "id", "kind", "open", "other_run", "round", "rounds", "run")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    OTHER_RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    id: int
    run: int
    kind: str
    client: str
    rounds: int
    other_run: int
    round: int
    by: str
    at: str
    open: bool
    failure: str
    def __init__(self, id: int | None = ..., run: int | None = ..., kind: str | None = ..., client: str | None = ..., rounds: int | None = ..., other_run: int | None = ..., round: int | None = ..., by: str | None = ..., at: str | None = ..., open: bool | None = ..., failure: str | None = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: int
    def __init__(self, run: int | None = ...) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("clients", "digest", "entry", "last_round", "open_orders", "quarantined", "run", "server_version")
    RUN_FIELD_NUMBER: _ClassVar[int]
    LAST_ROUND_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    OPEN_ORDERS_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    run: Run
    last_round: Round
    clients: int
    quarantined: int
    open_orders: int
    entry: int
    digest: str
    server_version: str
    def __init__(self, run: Run | _Mapping | None = ..., last_round: Round | _Mapping | None = ..., clients: int | None = ..., quarantined: int | None = ..., open_orders: int | None = ..., entry: int | None = ..., digest: str | None = ..., server_version: str | None = ...) -> None: ...

class RunsRequest(_message.Message):
    __slots__ = ("after", "most")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    after: int
    most: int
    def __init__(self, after: int | None = ..., most: int | None = ...) -> None: ...

class RunsReply(_message.Message):
    __slots__ = ("more", "runs")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[Run]
    more: bool
    def __init__(self, runs: _Iterable[Run | _Mapping] | None = ..., more: bool | None = ...) -> None: ...

class RoundsRequest(_message.Message):
    __slots__ = ("after", "most", "run")
    RUN_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    run: int
    after: int
    most: int
    def __init__(self, run: int | None = ..., after: int | None = ..., most: int | None = ...) -> None: ...

class RoundsReply(_message.Message):
    __slots__ = ("more", "rounds", "run")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    run: int
    rounds: _containers.RepeatedCompositeFieldContainer[Round]
    more: bool
    def __init__(self, run: int | None = ..., rounds: _Iterable[Round | _Mapping] | None = ..., more: bool | None = ...) -> None: ...

class ClientsRequest(_message.Message):
    __slots__ = ("after", "most", "run")
    RUN_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    run: int
    after: str
    most: int
    def __init__(self, run: int | None = ..., after: str | None = ..., most: int | None = ...) -> None: ...

class ClientsReply(_message.Message):
    __slots__ = ("clients", "more", "run")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    run: int
    clients: _containers.RepeatedCompositeFieldContainer[Client]
    more: bool
    def __init__(self, run: int | None = ..., clients: _Iterable[Client | _Mapping] | None = ..., more: bool | None = ...) -> None: ...

class HistoryRequest(_message.Message):
    __slots__ = ("after", "client", "most", "run")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    run: int
    client: str
    after: int
    most: int
    def __init__(self, run: int | None = ..., client: str | None = ..., after: int | None = ..., most: int | None = ...) -> None: ...

class HistoryReply(_message.Message):
    __slots__ = ("client", "more", "run", "verdicts")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    run: int
    client: Client
    verdicts: _containers.RepeatedCompositeFieldContainer[Verdict]
    more: bool
    def __init__(self, run: int | None = ..., client: Client | _Mapping | None = ..., verdicts: _Iterable[Verdict | _Mapping] | None = ..., more: bool | None = ...) -> None: ...

class OrdersRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: int
    def __init__(self, run: int | None = ...) -> None: ...

class OrdersReply(_message.Message):
    __slots__ = ("orders", "run")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    run: int
    orders: _containers.RepeatedCompositeFieldContainer[Order]
    def __init__(self, run: int | None = ..., orders: _Iterable[Order | _Mapping] | None = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("after", "run")
    RUN_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    run: int
    after: int
    def __init__(self, run: int | None = ..., after: int | None = ...) -> None: ...

class News(_message.Message):
    __slots__ = ("at", "digest", "entry", "held", "kind", "orders", "round", "run", "verdicts")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    run: int
    entry: int
    kind: str
    round: int
    at: str
    digest: str
    held: Round
    verdicts: _containers.RepeatedCompositeFieldContainer[Verdict]
    orders: _containers.RepeatedCompositeFieldContainer[Order]
    def __init__(self, run: int | None = ..., entry: int | None = ..., kind: str | None = ..., round: int | None = ..., at: str | None = ..., digest: str | None = ..., held: Round | _Mapping | None = ..., verdicts: _Iterable[Verdict | _Mapping] | None = ..., orders: _Iterable[Order | _Mapping] | None = ...) -> None: ...

class QuarantineRequest(_message.Message):
    __slots__ = ("client", "rounds", "run")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    run: int
    client: str
    rounds: int
    def __init__(self, run: int | None = ..., client: str | None = ..., rounds: int | None = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("client", "run")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    run: int
    client: str
    def __init__(self, run: int | None = ..., client: str | None = ...) -> None: ...

class PauseRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: int
    def __init__(self, run: int | None = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: int
    def __init__(self, run: int | None = ...) -> None: ...

class RollBackRequest(_message.Message):
    __slots__ = ("from_run", "round", "run")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    FROM_RUN_FIELD_NUMBER: _ClassVar[int]
    run: int
    round: int
    from_run: int
    def __init__(self, run: int | None = ..., round: int | None = ..., from_run: int | None = ...) -> None: ...

class StopRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: int
    def __init__(self, run: int | None = ...) -> None: ...

class OrderReply(_message.Message):
    __slots__ = ("order", "run")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    run: int
    order: int
    def __init__(self, run: int | None = ..., order: int | None = ...) -> None: ...

class OpenRequest(_message.Message):
    __slots__ = ("bounds", "clients", "count", "defense", "dimension", "numbers", "session", "share", "weighted")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    DEFENSE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTED_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    session: str
    defense: str
    count: int
    share: float
    dimension: int
    numbers: Numbers
    clients: int
    weighted: bool
    bounds: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, session: str | None = ..., defense: str | None = ..., count: int | None = ..., share: float | None = ..., dimension: int | None = ..., numbers: Numbers | str | None = ..., clients: int | None = ..., weighted: bool | None = ..., bounds: _Iterable[int] | None = ...) -> None: ...

class OpenReply(_message.Message):
    __slots__ = ("chunk_bytes", "defense", "idle_seconds", "rounds", "update_bytes")
    DEFENSE_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    UPDATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    IDLE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    defense: str
    rounds: int
    chunk_bytes: int
    update_bytes: int
    idle_seconds: float
    def __init__(self, defense: str | None = ..., rounds: int | None = ..., chunk_bytes: int | None = ..., update_bytes: int | None = ..., idle_seconds: float | None = ...) -> None: ...

class AskRequest(_message.Message):
    __slots__ = ("clients", "session")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    session: str
    clients: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, session: str | None = ..., clients: _Iterable[str] | None = ...) -> None: ...

class AskReply(_message.Message):
    __slots__ = ("clients",)
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    clients: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, clients: _Iterable[str] | None = ...) -> None: ...

class RoundRequest(_message.Message):
    __slots__ = ("begin", "chunk", "end", "update")
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    begin: Begin
    update: Update
    chunk: Chunk
    end: End
    def __init__(self, begin: Begin | _Mapping | None = ..., update: Update | _Mapping | None = ..., chunk: Chunk | _Mapping | None = ..., end: End | _Mapping | None = ...) -> None: ...

class Begin(_message.Message):
    __slots__ = ("round", "session")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    session: str
    round: int
    def __init__(self, session: str | None = ..., round: int | None = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("client", "kind", "weight")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CLIENT: _ClassVar[Update.Kind]
        TRUSTED: _ClassVar[Update.Kind]
        MODEL: _ClassVar[Update.Kind]
    CLIENT: Update.Kind
    TRUSTED: Update.Kind
    MODEL: Update.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    kind: Update.Kind
    client: str
    weight: float
    def __init__(self, kind: Update.Kind | str | None = ..., client: str | None = ..., weight: float | None = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("crc32", "data", "offset")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    crc32: int
    def __init__(self, offset: int | None = ..., data: bytes | None = ..., crc32: int | None = ...) -> None: ...

class End(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RoundReply(_message.Message):
    __slots__ = ("chunk", "judgement")
    JUDGEMENT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    judgement: Judgement
    chunk: Chunk
    def __init__(self, judgement: Judgement | _Mapping | None = ..., chunk: Chunk | _Mapping | None = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("client", "reason")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    client: str
    reason: str
    def __init__(self, client: str | None = ..., reason: str | None = ...) -> None: ...

class Judgement(_message.Message):
    __slots__ = ("aggregate_bytes", "quarantined", "refused", "round", "skipped", "verdicts")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    AGGREGATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    round: int
    verdicts: _containers.RepeatedCompositeFieldContainer[Verdict]
    refused: _containers.RepeatedCompositeFieldContainer[Refused]
    skipped: str
    aggregate_bytes: int
    quarantined: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, round: int | None = ..., verdicts: _Iterable[Verdict | _Mapping] | None = ..., refused: _Iterable[Refused | _Mapping] | None = ..., skipped: str | None = ..., aggregate_bytes: int | None = ..., quarantined: _Iterable[str] | None = ...) -> None: ...

class CloseRequest(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: str
    def __init__(self, session: str | None = ...) -> None: ...

class CloseReply(_message.Message):
    __slots__ = ("rounds",)
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    rounds: int
    def __init__(self, rounds: int | None = ...) -> None: ...
