"""The window that curates micrographs: a table of their numbers, a linked plot, and which of them are rejected."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHeaderView,
    QLabel,
    QSplitter,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import qthrottled, signals_blocked

from napari_gempick.widgets.forms.editors import edit
from napari_gempick.widgets.forms.parts import button, row
from napari_gempick.widgets.panels.scatter import REJECTED, Scatter
from napari_gempick.widgets.state.curating import COLUMNS, SPREAD, numbers_of, spread_of

if TYPE_CHECKING:
    from napari_gempick.widgets.background.false_shares import FalseShares
    from napari_gempick.widgets.background.pick_counter import PickCounter
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.curating import CtfValues, Numbers

_KEYS = list(COLUMNS)
_FEW = 20
"""Lines up to this number find their places in the order one by one."""
_MS, _SHARE = 150, 5
"""Milliseconds between two looks at the numbers; where they take long, this many times as long as one."""
_NAMES = [(title, name) for name, (title, _) in COLUMNS.items()]


class CurateWindow(QWidget):
    """Table and plot of all micrographs."""

    def __init__(self, controller: Controller, counter: PickCounter, ctf: CtfValues, false: FalseShares) -> None:
        super().__init__()
        self._false = false
        self._controller, self._counter, self._ctf = controller, counter, ctf
        self._numbers: dict[str, Numbers] = {}
        self._spread: set[str] | None = None
        self.table = self._make_table()
        self.plot = Scatter()
        self.plot.clicked.connect(lambda name: self._select([name], go=True))
        self.plot.selected.connect(self._select)
        self.x = edit(str, "mean", label="Along x", tip="Number along x", choices=_NAMES)
        self.y = edit(str, "picks", label="Along y", tip="Number along y", choices=_NAMES)
        self._x_chosen = False
        self.x.changed.connect(lambda _: setattr(self, "_x_chosen", True))
        for axis in (self.x, self.y):
            axis.changed.connect(lambda _: self._plot())
        self.by = edit(str, "picks", label="Filter by", tip="Show micrographs by this number", choices=_NAMES)
        shared: dict[str, Any] = {"min": -1e6, "max": 1e6, "digits": 2, "nullable": True}
        self.low = edit(float, None, label="Lowest", tip="Lowest shown", empty="no minimum", prefix="from ", **shared)
        self.high = edit(float, None, label="Highest", tip="Highest shown", empty="no maximum", prefix="to ", **shared)
        for one in (self.by, self.low, self.high):
            one.changed.connect(lambda _: self._filter())
        self.summary = QLabel("")
        self.drop = button(
            "Reject", "Leave the selected micrographs out of export, jobs and further searches", self._drop
        )
        self.keep = button("Keep", "Include the selected micrographs again", self._keep)
        self.spread = button(
            f"Tune on a spread of {SPREAD}",
            "Show micrographs that span the defocus range, or the numbers of picks; press again for all",
            self._show_spread,
        )
        self.star = button(
            "CTF from STAR...", "Read defocus and CTF fit from a STAR file of micrographs", self._ask_star
        )
        self._lay_out()
        self._items: dict[str, _MicrographRow] = {}
        self._show_soon = qthrottled(self._show, timeout=_MS, leading=False)
        ctf.changed.connect(self._ctf_read)
        self._estimate_soon = qthrottled(self._estimate, timeout=_MS, leading=False)
        self.table.verticalScrollBar().valueChanged.connect(lambda _: self._estimate_soon())
        false.changed.connect(self._show_soon)
        for signal in (
            counter.counted,
            counter.histogram_changed,
            controller.results_changed,
            controller.state_changed,
        ):
            signal.connect(self._changed)

    def _make_table(self) -> QTreeWidget:
        table = QTreeWidget()
        table.setAccessibleName("Numbers of each micrograph")
        table.setHeaderLabels(["Micrograph", "", *(title for title, _ in COLUMNS.values())])
        table.headerItem().setToolTip(5, "Estimated share of false picks at the present thresholds")
        table.setRootIsDecorated(False)
        table.setUniformRowHeights(True)
        table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        table.setSortingEnabled(True)
        table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        table.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        table.header().setStretchLastSection(False)
        table.header().setMinimumSectionSize(62)
        for column in range(1, 2 + len(COLUMNS)):
            table.setColumnWidth(column, 62 if column == 1 else 78)
        table.itemSelectionChanged.connect(self._selection_changed)
        table.currentItemChanged.connect(lambda item, _: item is not None and self._controller.go_to(item.text(0)))
        return table

    def _lay_out(self) -> None:
        """Put the table with its filter on the left, the plot with its axes on the right."""
        left, right = QWidget(), QWidget()
        lines = QVBoxLayout(left)
        filters = row("Show", self.by.native, self.low.native, self.high.native, self.summary)
        for place in (1, 2, 3):
            filters.setStretch(place, 1)
        lines.addLayout(filters)
        lines.addWidget(self.table)
        lines.addLayout(row(self.drop, self.keep, self.spread, self.star))
        lines = QVBoxLayout(right)
        axes = row(self.y.native, "against", self.x.native)
        for place in (0, 2):
            axes.setStretch(place, 1)
        lines.addLayout(axes)
        lines.addWidget(self.plot, 1)
        for made in (left, right):
            made.layout().setContentsMargins(4, 4, 4, 4)
        parts = QSplitter()
        parts.addWidget(left)
        parts.addWidget(right)
        parts.setStretchFactor(0, 3)
        parts.setStretchFactor(1, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(parts)

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self.show_numbers()
        self._estimate_soon()

    def _changed(self, *_: Any) -> None:
        self._show_soon()
        self._estimate_soon()

    def _estimate(self) -> None:
        """Have shares of false picks estimated, those first that are in sight."""
        if self.isVisible():
            first = self.table.indexAt(QPoint(1, 1)).row()
            last = self.table.indexAt(QPoint(1, self.table.viewport().height() - 1)).row()
            items = [self.table.topLevelItem(place) for place in range(self.table.topLevelItemCount())]
            seen = items[max(0, first) : last + 1 if last >= 0 else None]
            self._false.want(list(dict.fromkeys(item.text(0) for item in (*seen, *items))))

    def _show(self) -> None:
        begun = time.perf_counter()
        self.show_numbers()
        self._show_soon.setTimeout(max(_MS, round(1e3 * _SHARE * (time.perf_counter() - begun))))

    def show_numbers(self) -> None:
        """Show the current numbers, if the window is visible."""
        if not self.isVisible():
            return
        controller = self._controller
        self._ctf.read()
        known = self._counter.counts, self._counter.details, self._ctf.values, self._false.shares
        self._numbers = numbers_of(controller, *known)
        others = self._items.keys() != self._numbers.keys()
        changed = [stem for stem, numbers in self._numbers.items() if others or self._items[stem].differs(numbers)]
        at_once = others or len(changed) > _FEW
        if at_once:
            self.table.setSortingEnabled(False)
        with signals_blocked(self.table):
            if others:
                if self._spread is not None and not self._spread & set(self._numbers):
                    self._set_spread(None)  # of another session
                self.table.clear()
                self._items = {stem: _MicrographRow(stem) for stem in self._numbers}
                self.table.addTopLevelItems(list(self._items.values()))
            for stem in changed:
                self._items[stem].show(self._numbers[stem])
        if at_once:
            self.table.setSortingEnabled(True)  # which sorts all
        if changed or others:
            self._filter()

    def _ask_star(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "STAR file of micrographs", "", "STAR files (*.star)")
        if file:
            self._ctf.read_star(Path(file))

    def _ctf_read(self) -> None:
        if not self._x_chosen:
            self.x.show_value("defocus")
        self.show_numbers()

    def shown(self) -> list[str]:
        """Return the micrographs that pass the filter."""
        low, high, name = self.low.get_value(), self.high.get_value(), self.by.value
        found = []
        for stem, numbers in self._numbers.items():
            value = numbers.values[name]
            passes = (low is None or value >= low) and (high is None or value <= high)
            if passes and (self._spread is None or stem in self._spread):
                found.append(stem)
        return found

    def _filter(self) -> None:
        shown = set(self.shown())
        for stem, item in self._items.items():
            item.setHidden(stem not in shown)
        rejected = sum(not numbers.kept for numbers in self._numbers.values())
        self.summary.setText(f"{len(shown)} of {len(self._numbers)}" + (f", {rejected} rejected" if rejected else ""))
        self._plot()

    def _plot(self) -> None:
        x, y = self.x.value, self.y.value
        points = [
            (stem, one.values[x], one.values[y], one.kept) for stem in self.shown() if (one := self._numbers[stem])
        ]
        self.plot.show_points(points, COLUMNS[x][0], COLUMNS[y][0])

    def _selected(self) -> list[str]:
        return [item.text(0) for item in self.table.selectedItems() if not item.isHidden()]

    def _selection_changed(self) -> None:
        chosen = self._selected()
        self.plot.choose(set(chosen))
        for made in (self.drop, self.keep):
            made.setEnabled(bool(chosen))

    def _select(self, names: list[str], go: bool = False) -> None:
        with signals_blocked(self.table):
            self.table.clearSelection()
            for name in names:
                self._items[name].setSelected(True)
        self._selection_changed()
        if names:
            self.table.scrollToItem(self._items[names[0]])
            if go:
                self._controller.go_to(names[0])

    def _drop(self) -> None:
        self._controller.reject_micrographs(self._selected(), True)

    def _keep(self) -> None:
        self._controller.reject_micrographs(self._selected(), False)

    def _set_spread(self, stems: set[str] | None) -> None:
        self._spread = stems
        self.spread.setText("Show all" if stems is not None else f"Tune on a spread of {SPREAD}")

    def _show_spread(self) -> None:
        """Show a few micrographs that span the range of defocus, or of picks where no defocus is known."""
        if self._spread is not None:
            self._set_spread(None)
        else:
            self._set_spread(set(spread_of(self._numbers)) or None)
            if self._spread is None:
                self._controller.notified.emit(
                    "Neither defocus nor picks are known yet: read a STAR file with the CTF, or search first.", "info"
                )
        self._filter()
        shown = self.shown()
        if self._spread and shown:
            self._select(shown)
            self._go(shown[0])


class _MicrographRow(QTreeWidgetItem):
    """A micrograph in the table; numbers sort as numbers, unknown ones last."""

    def __init__(self, stem: str) -> None:
        super().__init__([stem])
        self._shown: Numbers | None = None
        for column in range(2, 2 + len(COLUMNS)):
            self.setTextAlignment(column, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def differs(self, numbers: Numbers) -> bool:
        """Return whether the numbers differ from those shown."""
        return numbers != self._shown

    def show(self, numbers: Numbers) -> None:
        """Show the numbers."""
        self._shown = numbers
        self.setText(1, "" if numbers.kept else "rejected")
        self.setForeground(1, QColor(REJECTED))
        for column, (name, (_, digits)) in enumerate(COLUMNS.items(), 2):
            value = numbers.values[name]
            text = "" if math.isnan(value) else f"{value:.{digits}f}"
            if text != self.text(column):
                self.setText(column, text)

    def __lt__(self, other: QTreeWidgetItem) -> bool:
        column = self.treeWidget().sortColumn()
        if column == 0 or not isinstance(other, _MicrographRow) or self._shown is None or other._shown is None:
            return self.text(0) < other.text(0)
        if column == 1:
            return self._shown.kept > other._shown.kept
        mine, theirs = self._shown.values[_KEYS[column - 2]], other._shown.values[_KEYS[column - 2]]
        return (math.isnan(mine), mine) < (math.isnan(theirs), theirs)
