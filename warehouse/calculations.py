"""Calculations by hand and by Python, for many texts at once; the rules for one text are in `warehouse.behaviours`.

Texts are cut at their fences once. Equations are counted by Polars; the rules that follow a text from piece to piece
run only where their equations, outputs and words of doubt are all there, which is rare.

`hand_computed_share` is of all computations, equations between numbers in prose and executed calls, those worked out by
hand. CoRT (arXiv 2506.09820) counts what a model delegates to code; the share is ours.
"""

from collections.abc import Iterator, Mapping

import polars as pl

from warehouse.behaviours import DOUBT, DOUBT_WORDS, EQUATION, LEAST_EQUATIONS, distrusts_output, repeats_result
from warehouse.fences import Kind, Piece, split_fences

_PROSE = {
    "row": pl.Int64,
    "at": pl.Int64,
    "before_code": pl.Boolean,
    "before_output": pl.Boolean,
    "after_output": pl.Boolean,
    "text": pl.String,
}


def pieces_of(texts: pl.Series) -> list[list[Piece]]:
    """The pieces of each text."""
    return [split_fences(text) if "```" in text else [Piece(Kind.PROSE, text)] for text in texts]


def prose_of(pieces: list[list[Piece]]) -> pl.Series:
    """The prose of each text, joined by line breaks."""
    return pl.Series(
        ["\n".join(piece.text for piece in text if piece.kind is Kind.PROSE) for text in pieces], dtype=pl.String
    )


def calculations(texts: pl.Series, pieces: list[list[Piece]]) -> pl.DataFrame:
    """The behaviours of `warehouse.behaviours` for N texts, and `n_hand_equations`: those in all of the prose.

    Args:
        texts: N strings.
        pieces: Their pieces.
    """
    flat = pl.DataFrame(list(_prose(pieces)), schema=_PROSE, orient="row")
    flat = (
        flat.filter(pl.col("text").str.contains(r"=\s*-?\$?\d"))
        .with_columns(equations=pl.col("text").str.extract_all(EQUATION))
        .with_columns(n=pl.col("equations").list.len().cast(pl.Int64))
        .filter(pl.col("n") > 0)
    )
    may_doubt = pl.col("text").str.contains_any(DOUBT_WORDS, ascii_case_insensitive=True)
    doubts = flat.filter(pl.col("after_output") & may_doubt).filter(pl.col("text").str.contains(f"(?i){DOUBT}"))
    counted = flat.group_by("row").agg(
        n_hand_equations=pl.col("n").sum(), n_hand_calculations=pl.col("n").filter("before_code").sum()
    )
    early = flat.filter("before_output")
    n_early = early.group_by("row").agg(pl.col("n").sum()).filter(pl.col("n") >= LEAST_EQUATIONS)["row"]
    early = early.filter(pl.col("row").is_in(n_early.implode()))
    known = {(row, at): equations for row, at, equations in early.select("row", "at", "equations").iter_rows()}
    delayed = [row for row in sorted({row for row, _ in known}) if _is_delayed(pieces[row], row, known)]
    distrust = [row for row in doubts["row"].unique() if distrusts_output(texts[row])]
    every = pl.DataFrame({"row": pl.int_range(len(texts), dtype=pl.Int64, eager=True)})
    return every.join(counted, on="row", how="left", maintain_order="left").select(
        pl.col("n_hand_equations", "n_hand_calculations").fill_null(0),
        delayed_computation=pl.col("row").is_in(delayed),
        distrusts_output=pl.col("row").is_in(distrust),
    )


def _is_delayed(pieces: list[Piece], row: int, known: Mapping[tuple[int, int], list[str]]) -> bool:
    """As `delayed_computation`, with the equations found before."""
    equations: list[str] = []
    for at, piece in enumerate(pieces):
        if piece.kind is Kind.PROSE:
            equations += known.get((row, at), ())
        elif piece.kind is Kind.OUTPUT:
            if len(equations) >= LEAST_EQUATIONS and repeats_result(equations, piece.text):
                return True
            equations = []
    return False


def _prose(pieces: list[list[Piece]]) -> Iterator[tuple[int, int, bool, bool, bool, str]]:
    for row, text in enumerate(pieces):
        last_output = max((at for at, piece in enumerate(text) if piece.kind is Kind.OUTPUT), default=-1)
        before_code, after_output = True, False
        for at, piece in enumerate(text):
            if piece.kind is Kind.PROSE:
                yield row, at, before_code, at < last_output, after_output, piece.text
            else:
                before_code = False
                after_output = after_output or piece.kind is Kind.OUTPUT
