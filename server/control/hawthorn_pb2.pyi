from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

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
    __slots__ = ("id", "name", "status", "started", "finished", "error", "version", "settings")
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
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
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., status: _Optional[str] = ..., started: _Optional[str] = ..., finished: _Optional[str] = ..., error: _Optional[str] = ..., version: _Optional[str] = ..., settings: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class Round(_message.Message):
    __slots__ = ("number", "skipped", "rolled_back", "seconds", "at", "accepted", "rejected", "refused", "metrics")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Metric
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Metric, _Mapping]] = ...) -> None: ...
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
    def __init__(self, number: _Optional[int] = ..., skipped: _Optional[str] = ..., rolled_back: _Optional[str] = ..., seconds: _Optional[float] = ..., at: _Optional[str] = ..., accepted: _Optional[int] = ..., rejected: _Optional[int] = ..., refused: _Optional[int] = ..., metrics: _Optional[_Mapping[str, Metric]] = ...) -> None: ...

class Standing(_message.Message):
    __slots__ = ("name", "since", "until", "evidence", "quarantines", "words")
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
    def __init__(self, name: _Optional[str] = ..., since: _Optional[int] = ..., until: _Optional[int] = ..., evidence: _Optional[float] = ..., quarantines: _Optional[float] = ..., words: _Optional[str] = ...) -> None: ...

class Client(_message.Message):
    __slots__ = ("identity", "name", "node", "rounds", "accepted", "rejected", "refused", "last_round", "last_reason", "standing", "held")
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
    def __init__(self, identity: _Optional[str] = ..., name: _Optional[str] = ..., node: _Optional[str] = ..., rounds: _Optional[int] = ..., accepted: _Optional[int] = ..., rejected: _Optional[int] = ..., refused: _Optional[int] = ..., last_round: _Optional[int] = ..., last_reason: _Optional[str] = ..., standing: _Optional[_Union[Standing, _Mapping]] = ..., held: _Optional[bool] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("client", "admitted", "accepted", "weight", "p_value", "scores", "reason", "standing", "round", "name")
    class ScoresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
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
    def __init__(self, client: _Optional[str] = ..., admitted: _Optional[bool] = ..., accepted: _Optional[bool] = ..., weight: _Optional[float] = ..., p_value: _Optional[float] = ..., scores: _Optional[_Mapping[str, float]] = ..., reason: _Optional[str] = ..., standing: _Optional[str] = ..., round: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class Order(_message.Message):
    __slots__ = ("id", "run", "kind", "client", "rounds", "other_run", "round", "by", "at", "open", "failure")
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
    def __init__(self, id: _Optional[int] = ..., run: _Optional[int] = ..., kind: _Optional[str] = ..., client: _Optional[str] = ..., rounds: _Optional[int] = ..., other_run: _Optional[int] = ..., round: _Optional[int] = ..., by: _Optional[str] = ..., at: _Optional[str] = ..., open: _Optional[bool] = ..., failure: _Optional[str] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: int
    def __init__(self, run: _Optional[int] = ...) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("run", "last_round", "clients", "quarantined", "open_orders", "entry", "digest", "server_version")
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
    def __init__(self, run: _Optional[_Union[Run, _Mapping]] = ..., last_round: _Optional[_Union[Round, _Mapping]] = ..., clients: _Optional[int] = ..., quarantined: _Optional[int] = ..., open_orders: _Optional[int] = ..., entry: _Optional[int] = ..., digest: _Optional[str] = ..., server_version: _Optional[str] = ...) -> None: ...

class RunsRequest(_message.Message):
    __slots__ = ("after", "most")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    after: int
    most: int
    def __init__(self, after: _Optional[int] = ..., most: _Optional[int] = ...) -> None: ...

class RunsReply(_message.Message):
    __slots__ = ("runs", "more")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[Run]
    more: bool
    def __init__(self, runs: _Optional[_Iterable[_Union[Run, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class RoundsRequest(_message.Message):
    __slots__ = ("run", "after", "most")
    RUN_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    run: int
    after: int
    most: int
    def __init__(self, run: _Optional[int] = ..., after: _Optional[int] = ..., most: _Optional[int] = ...) -> None: ...

class RoundsReply(_message.Message):
    __slots__ = ("run", "rounds", "more")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    run: int
    rounds: _containers.RepeatedCompositeFieldContainer[Round]
    more: bool
    def __init__(self, run: _Optional[int] = ..., rounds: _Optional[_Iterable[_Union[Round, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class ClientsRequest(_message.Message):
    __slots__ = ("run", "after", "most")
    RUN_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    run: int
    after: str
    most: int
    def __init__(self, run: _Optional[int] = ..., after: _Optional[str] = ..., most: _Optional[int] = ...) -> None: ...

class ClientsReply(_message.Message):
    __slots__ = ("run", "clients", "more")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    run: int
    clients: _containers.RepeatedCompositeFieldContainer[Client]
    more: bool
    def __init__(self, run: _Optional[int] = ..., clients: _Optional[_Iterable[_Union[Client, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class HistoryRequest(_message.Message):
    __slots__ = ("run", "client", "after", "most")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    run: int
    client: str
    after: int
    most: int
    def __init__(self, run: _Optional[int] = ..., client: _Optional[str] = ..., after: _Optional[int] = ..., most: _Optional[int] = ...) -> None: ...

class HistoryReply(_message.Message):
    __slots__ = ("run", "client", "verdicts", "more")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    run: int
    client: Client
    verdicts: _containers.RepeatedCompositeFieldContainer[Verdict]
    more: bool
    def __init__(self, run: _Optional[int] = ..., client: _Optional[_Union[Client, _Mapping]] = ..., verdicts: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class OrdersRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: int
    def __init__(self, run: _Optional[int] = ...) -> None: ...

class OrdersReply(_message.Message):
    __slots__ = ("run", "orders")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    run: int
    orders: _containers.RepeatedCompositeFieldContainer[Order]
    def __init__(self, run: _Optional[int] = ..., orders: _Optional[_Iterable[_Union[Order, _Mapping]]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("run", "after")
    RUN_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    run: int
    after: int
    def __init__(self, run: _Optional[int] = ..., after: _Optional[int] = ...) -> None: ...

class News(_message.Message):
    __slots__ = ("run", "entry", "kind", "round", "at", "digest", "held", "verdicts", "orders")
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
    def __init__(self, run: _Optional[int] = ..., entry: _Optional[int] = ..., kind: _Optional[str] = ..., round: _Optional[int] = ..., at: _Optional[str] = ..., digest: _Optional[str] = ..., held: _Optional[_Union[Round, _Mapping]] = ..., verdicts: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ..., orders: _Optional[_Iterable[_Union[Order, _Mapping]]] = ...) -> None: ...

class QuarantineRequest(_message.Message):
    __slots__ = ("run", "client", "rounds")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    run: int
    client: str
    rounds: int
    def __init__(self, run: _Optional[int] = ..., client: _Optional[str] = ..., rounds: _Optional[int] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("run", "client")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    run: int
    client: str
    def __init__(self, run: _Optional[int] = ..., client: _Optional[str] = ...) -> None: ...

class PauseRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: int
    def __init__(self, run: _Optional[int] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: int
    def __init__(self, run: _Optional[int] = ...) -> None: ...

class RollBackRequest(_message.Message):
    __slots__ = ("run", "round", "from_run")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    FROM_RUN_FIELD_NUMBER: _ClassVar[int]
    run: int
    round: int
    from_run: int
    def __init__(self, run: _Optional[int] = ..., round: _Optional[int] = ..., from_run: _Optional[int] = ...) -> None: ...

class StopRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: int
    def __init__(self, run: _Optional[int] = ...) -> None: ...

class OrderReply(_message.Message):
    __slots__ = ("run", "order")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    run: int
    order: int
    def __init__(self, run: _Optional[int] = ..., order: _Optional[int] = ...) -> None: ...

class OpenRequest(_message.Message):
    __slots__ = ("session", "defense", "count", "share", "dimension", "numbers", "clients", "weighted", "bounds")
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
    def __init__(self, session: _Optional[str] = ..., defense: _Optional[str] = ..., count: _Optional[int] = ..., share: _Optional[float] = ..., dimension: _Optional[int] = ..., numbers: _Optional[_Union[Numbers, str]] = ..., clients: _Optional[int] = ..., weighted: _Optional[bool] = ..., bounds: _Optional[_Iterable[int]] = ...) -> None: ...

class OpenReply(_message.Message):
    __slots__ = ("defense", "rounds", "chunk_bytes", "update_bytes", "idle_seconds")
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
    def __init__(self, defense: _Optional[str] = ..., rounds: _Optional[int] = ..., chunk_bytes: _Optional[int] = ..., update_bytes: _Optional[int] = ..., idle_seconds: _Optional[float] = ...) -> None: ...

class AskRequest(_message.Message):
    __slots__ = ("session", "clients")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    session: str
    clients: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, session: _Optional[str] = ..., clients: _Optional[_Iterable[str]] = ...) -> None: ...

class AskReply(_message.Message):
    __slots__ = ("clients",)
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    clients: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, clients: _Optional[_Iterable[str]] = ...) -> None: ...

class RoundRequest(_message.Message):
    __slots__ = ("begin", "update", "chunk", "end")
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    begin: Begin
    update: Update
    chunk: Chunk
    end: End
    def __init__(self, begin: _Optional[_Union[Begin, _Mapping]] = ..., update: _Optional[_Union[Update, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., end: _Optional[_Union[End, _Mapping]] = ...) -> None: ...

class Begin(_message.Message):
    __slots__ = ("session", "round")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    session: str
    round: int
    def __init__(self, session: _Optional[str] = ..., round: _Optional[int] = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("kind", "client", "weight")
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
    def __init__(self, kind: _Optional[_Union[Update.Kind, str]] = ..., client: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("offset", "data", "crc32")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    crc32: int
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ..., crc32: _Optional[int] = ...) -> None: ...

class End(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RoundReply(_message.Message):
    __slots__ = ("judgement", "chunk")
    JUDGEMENT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    judgement: Judgement
    chunk: Chunk
    def __init__(self, judgement: _Optional[_Union[Judgement, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("client", "reason")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    client: str
    reason: str
    def __init__(self, client: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Judgement(_message.Message):
    __slots__ = ("round", "verdicts", "refused", "skipped", "aggregate_bytes", "quarantined")
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
    def __init__(self, round: _Optional[int] = ..., verdicts: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ..., refused: _Optional[_Iterable[_Union[Refused, _Mapping]]] = ..., skipped: _Optional[str] = ..., aggregate_bytes: _Optional[int] = ..., quarantined: _Optional[_Iterable[str]] = ...) -> None: ...

class ForgetRequest(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: str
    def __init__(self, session: _Optional[str] = ...) -> None: ...

class ForgetReply(_message.Message):
    __slots__ = ("rounds",)
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    rounds: int
    def __init__(self, rounds: _Optional[int] = ...) -> None: ...
