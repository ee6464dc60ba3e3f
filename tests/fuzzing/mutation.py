"""Changes of any protobuf message, wherever in it: values that are odd, parts that are gone, doubled or too many."""

from google.protobuf.descriptor import FieldDescriptor as Field

INTEGERS = {
    Field.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    Field.CPPTYPE_UINT32: (0, 2**32 - 1),
    Field.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    Field.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def mutate(message, choices):
    """Change one thing in a message or in a part of it."""
    fields = [field for field in message.DESCRIPTOR.fields if not _is_map(field)]
    if not fields:
        return
    filled = [field for field, _ in message.ListFields() if not _is_map(field)]
    field = choices.of(filled) if filled and choices.often() else choices.of(fields)
    if choices.below(12) == 0:
        message.ClearField(field.name)
    elif field.is_repeated:
        _mutate_list(getattr(message, field.name), field, choices)
    elif field.message_type is not None:
        part = getattr(message, field.name)
        part.SetInParent()
        mutate(part, choices)
    else:
        setattr(message, field.name, _value(field, choices, getattr(message, field.name)))


def _mutate_list(items, field, choices):
    what = choices.below(5)
    place = choices.below(len(items)) if items else 0
    if what == 0 and items:
        del items[place]
    elif field.message_type is not None:
        if what == 1 or not items:
            (items.add().CopyFrom(items[place])) if items else items.add()
        mutate(items[place], choices)
    elif what == 1:
        items.extend([_value(field, choices, None) for _ in range(choices.of((1, 2, 20, 3000)))])
    elif items:
        items[place] = _value(field, choices, items[place])
    else:
        items.append(_value(field, choices, None))


def _value(field, choices, honest):
    kind = field.cpp_type
    if kind in INTEGERS:
        least, most = INTEGERS[kind]
        return min(max(choices.whole(), least), most)
    if kind in (Field.CPPTYPE_DOUBLE, Field.CPPTYPE_FLOAT):
        return choices.real()
    if kind == Field.CPPTYPE_BOOL:
        return bool(choices.below(2))
    if kind == Field.CPPTYPE_ENUM:
        return choices.of([one.number for one in field.enum_type.values] + [77])
    if field.type == Field.TYPE_BYTES:
        return choices.npy(honest or b"") if choices.often() else choices.blob()
    return choices.text()


def _is_map(field):
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def broken(data, choices):
    """Bytes with some of them changed, cut off or doubled."""
    data = bytearray(data)
    for _ in range(1 + choices.below(4)):
        at = choices.below(len(data)) if data else 0
        what = choices.below(4)
        if what == 0:
            del data[at:]
        elif what == 1:
            data[at:at] = choices.blob()
        elif what == 2:
            data += data[at : at + 100]
        elif data:
            data[at] = choices.below(256)
    return bytes(data)
