"""Where an exception can meet a rank of a job: everything that it calls between two exchanges, and the exchanges.

MODULE:NAME, with @N for the N-th call.
"""

CLUSTER = "napari_gempick.cluster"
MPI = f"{CLUSTER}.mpi"

BEGINNING = (
    f"{MPI}.program:open_job",
    f"{MPI}.communication:first_sentence",
    f"{CLUSTER}.folder:Job.check_files",
    f"{CLUSTER}.folder:Job.check_writable",
    f"{CLUSTER}.folder:Job.claim",
    f"{CLUSTER}.folder:Job.sweep",
    f"{MPI}.rank:last_attempt",
    f"{MPI}.rank:visible_gpus",
    f"{MPI}.rank:devices_of_rank",
    f"{MPI}.rank:Worker",
    f"{MPI}.rank:kind_of_node",
    f"{MPI}.rank:open_plan",
    f"{MPI}.rank:open_devices",
    f"{CLUSTER}.records:RankLog.start",
    f"{MPI}.rank:Rank.prepare_communicators",
    f"{MPI}.rank:Rank.exchange_weights",
)
"""Before the first micrograph; reached with both distributions."""

BOTH = (
    f"{MPI}.micrographs:Worker._is_done",
    f"{MPI}.micrographs:loader",
    "napari_gempick.engine.matching.read_ahead:prepare",
    "napari_gempick.inputs.bank_maker:BankMaker.__call__",
    "napari_gempick.engine.matching.pipeline:make_search",
    "napari_gempick.engine.matching.pipeline:Running",
    "napari_gempick.engine.matching.workers:consume",
    "napari_gempick.engine.matching.pipeline:Running@2",  # of the second view
    "napari_gempick.engine.matching.workers:Running.wait",
    "napari_gempick.engine.matching.pipeline:_landed",
    "napari_gempick.engine.matching.search:Search.result",
    f"{MPI}.micrographs:finish_micrograph",
    f"{CLUSTER}.folder:Job.write_record",
    f"{CLUSTER}.records:RankLog.write",
    f"{MPI}.communication:Conductor.call",
    f"{MPI}.rank:Rank.finish",
    f"{MPI}.rank:Rank._wait_turn",
    f"{MPI}.micrographs:Worker.close",
    f"{MPI}.program:wait",
)

BY_MICROGRAPHS = (
    f"{MPI}.communication:HandOut.next_number",
    f"{MPI}.communication:HandOut.serve",
    f"{MPI}.communication:HandOut._take",
)

BY_TEMPLATES = (
    f"{MPI}.micrographs:Worker.todo",
    f"{MPI}.communication:InStep.choose",
    f"{MPI}.communication:InStep.next_number",
    f"{MPI}.communication:text_of",
    f"{MPI}.communication:array_of",
    f"{MPI}.shared_search:choose_grid",
    f"{MPI}.communication:any_of",
    f"{MPI}.communication:first_sentence",
    f"{MPI}.shared_search:pack",
    f"{MPI}.shared_search:tree",
    f"{MPI}.shared_search:tree@3",  # of the second view, after the decoys of the first
    f"{MPI}.shared_search:unpack",
    f"{MPI}.communication:total_of",
    "napari_gempick.engine.matching.search:Search.partial_maps",
)

EXCEPTIONS = ("MemoryError", "OSError", "ValueError", "RuntimeError")
HARMLESS = {f"{MPI}.micrographs:Worker._is_done"}
"""What fails here is done anew."""


def all_cases():
    """Yield every case: point, whether it lies in the work, exception, distribution, ranks, the rank that fails."""
    for distribution, own in (("micrographs", BY_MICROGRAPHS), ("templates", BY_TEMPLATES)):
        points = [(point, False) for point in BEGINNING] + [(point, True) for point in (*BOTH, *own)]
        for ranks in (2, 4):
            for number, (point, working) in enumerate(points):
                for rank in range(ranks):
                    for exception in EXCEPTIONS:
                        yield number, point, working, exception, distribution, ranks, rank


def some_cases():
    """Return cases that meet every point once, and half of those of both distributions in each; by number of ranks.

    Exceptions take turns.
    """
    seen, few = set(), []
    found = []
    for case in all_cases():
        number, point, working, exception, distribution, ranks, rank = case
        if exception != EXCEPTIONS[number % 4]:
            continue
        if working and distribution == "micrographs" and point in BOTH[::2] and point not in ALIKE:
            continue
        key = point, working, distribution if working and point not in ALIKE else ""
        if ranks == 2 and rank == (0 if _first_only(point, distribution) else 1) and key not in seen:
            seen.add(key)
            found.append(case)
        if ranks == 4 and rank == 3 and (point, distribution) in FOUR:
            few.append(case)
    return found, few


FOUR = (
    ("napari_gempick.engine.matching.read_ahead:prepare", "micrographs"),
    ("napari_gempick.engine.matching.pipeline:make_search", "templates"),
    (f"{MPI}.shared_search:tree", "templates"),
)
ALIKE = {f"{MPI}.communication:Conductor.call", f"{MPI}.rank:Rank._wait_turn", f"{MPI}.program:wait"}
"""Points that both distributions treat alike: here they are met with one of them."""


def _first_only(point, distribution):
    """Whether only rank 0 comes to a point."""
    name = point.rsplit(":")[-1]
    writes = ("finish_micrograph", "Job.write_record", "Rank.finish", "Worker._is_done")
    return name in FIRST or (distribution == "templates" and name in writes)


FIRST = {
    "Job.check_files", "Job.check_writable", "Job.claim", "Job.sweep", "last_attempt", "HandOut.serve", "HandOut._take",
    "Worker.todo", "unpack", "loader", "array_of",
}  # fmt: skip
