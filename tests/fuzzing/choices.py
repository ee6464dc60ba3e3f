"""What a fuzzer decides, read from its bytes: so that coverage guides it, and every input does the same again."""

import struct

NUMBERS = (0, 1, -1, 2, 3, 7, 127, 255, 256, 1000, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-320, 1e-9, 1e9, 1e15, 1e16, 1e38, 1e300, 1.7e308, -1.7e308)
FLOATS += (float("inf"), float("-inf"), float("nan"))
WORDS = (
    *("", "weight", "bias", "seen", "none", "scale", "arrays", "metrics", "config", "num-examples", "loss", "norm_bit"),
    *("train", "evaluate", "system", "numpy.ndarray", "torch.pickle", "float32", "float64", "<f4", ">f8", "object"),
    *("hawthorn.manifest", "manifest", "signature", "s", "site-1", "trimmed_mean", "krum; f=1", "nnm | mean; f=99"),
    *(
        "two\nlines",
        "\x1b[2J",
        "nul\0",
        "é",
        "\U0001f33f",
        "x" * 300,
        "y" * 5000,
        "a" * 64,
        "key-1",
        "'; DROP TABLE runs",
    ),
)
DTYPES = ("<f4", "<f8", "<f2", ">f4", "<i8", "|b1", "|O", "<U3", "|V9", "<f16", "<c16", "<M8[ns]", "|S999999999", "")
SHAPES = ("(6, 5)", "(5,)", "()", "(0, 3)", "(1,)", "(30,)", "(5, 6)", "(2000000, 6000000)", "(-1, 4)", "((6,), 5)")
SHAPES += ("(9999999999999999999,)", "6, 5", "[6, 5]", "(6 5)", "(6,,5)", "(" * 300, "(0xff,)", "(1e3,)")


class Choices:
    """Choices read from bytes; when they are used up, the first of all options."""

    def __init__(self, data):
        self.data, self.at = data, 0

    @property
    def left(self):
        return len(self.data) - self.at

    def bytes(self, count):
        found = self.data[self.at : self.at + count]
        self.at += count
        return found

    def below(self, count):
        """A number from 0 to below `count`."""
        size = 1 if count <= 256 else 4
        return int.from_bytes(self.bytes(size), "little") % count

    def of(self, options):
        return options[self.below(len(options))]

    def often(self):
        return self.below(4) > 0

    def blob(self):
        """Bytes as they are."""
        return self.bytes(self.below(200))

    def text(self):
        return self.of(WORDS) if self.often() else self.blob().decode("utf-8", "replace")

    def whole(self):
        return self.of(NUMBERS) if self.often() else int.from_bytes(self.bytes(8), "little", signed=True)

    def real(self):
        return self.of(FLOATS) if self.often() else struct.unpack("<d", self.bytes(8).ljust(8, b"\0"))[0]

    def npy(self, honest):
        """The bytes of an array: a header of odd parts, and a body that need not fit it."""
        start = honest.find(b"\n") + 1
        order = self.of(("False", "True", "0", "None", "-" * 3000 + "1"))
        text = f"{{'descr': '{self.of(DTYPES)}', 'fortran_order': {order}, 'shape': {self.of(SHAPES)}, }}"
        head = self.of((honest[10:start], text.encode(), self.blob(), text.encode() + b" " * 5000, b"{" * 4000))
        version = self.of((b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x09"))
        size = len(head) if self.often() else self.whole() % 2**16
        width = 4 if version == b"\x02\x00" else 2
        body = self.of((honest[start:], honest[start:-3], b"", honest[start:] * 2, self.blob()))
        return (
            self.of((b"\x93NUMPY", b"\x93NUMPY", b"PK\x03\x04"))
            + version
            + size.to_bytes(width, "little")
            + head
            + body
        )
