"""Where an exception can meet a rank of a job: everything that it calls between two exchanges, and the exchanges.

MODULE:NAME, with @N for the N-th call.
"""

CLUSTER = "napari_gempick.job.cluster"

BEGINNING = (
    f"{CLUSTER}.program:open_job",
    f"{CLUSTER}.hand_out:first_sentence",
    f"{CLUSTER}.folder:Job.check_files",
    f"{CLUSTER}.folder:Job.check_writable",
    f"{CLUSTER}.folder:Job.claim",
    f"{CLUSTER}.folder:Job.sweep",
    f"{CLUSTER}.rank:last_attempt",
    f"{CLUSTER}.rank:visible_gpus",
    f"{CLUSTER}.rank:devices_of_rank",
    f"{CLUSTER}.rank:Worker",
    f"{CLUSTER}.rank:kind_of_node",
    f"{CLUSTER}.rank:open_plan",
    f"{CLUSTER}.rank:open_devices",
    f"{CLUSTER}.log:RankLog.start",
    f"{CLUSTER}.rank:Rank.prepare_communicators",
    f"{CLUSTER}.rank:Rank.exchange_weights",
)
"""Before the first micrograph; reached with both distributions."""

BOTH = (
    f"{CLUSTER}.worker:Worker._is_done",
    f"{CLUSTER}.worker:loader",
    "napari_gempick.run.pipeline:prepare",
    "napari_gempick.job.bank_maker:BankMaker.__call__",
    "napari_gempick.run.pipeline:Search",
    "napari_gempick.run.pipeline:run_search",
    "napari_gempick.run.search:consume",
    "napari_gempick.run.pipeline:run_search@2",  # of the second view
    "napari_gempick.engine.search:Search.result",
    f"{CLUSTER}.worker:finish_micrograph",
    f"{CLUSTER}.folder:Job.write_record",
    f"{CLUSTER}.log:RankLog.write",
    f"{CLUSTER}.conductor:Conductor.call",
    f"{CLUSTER}.rank:Rank.finish",
    f"{CLUSTER}.rank:Rank._wait_turn",
    f"{CLUSTER}.worker:Worker.close",
    f"{CLUSTER}.program:wait",
)

BY_MICROGRAPHS = (
    f"{CLUSTER}.hand_out:HandOut.next_number",
    f"{CLUSTER}.hand_out:HandOut.serve",
    f"{CLUSTER}.hand_out:HandOut._take",
)

BY_TEMPLATES = (
    f"{CLUSTER}.worker:Worker.todo",
    f"{CLUSTER}.hand_out:InStep.choose",
    f"{CLUSTER}.hand_out:InStep.next_number",
    f"{CLUSTER}.hand_out:text_of",
    f"{CLUSTER}.hand_out:array_of",
    f"{CLUSTER}.together:choose_grid",
    f"{CLUSTER}.hand_out:any_of",
    f"{CLUSTER}.hand_out:first_sentence",
    f"{CLUSTER}.reduce:pack",
    f"{CLUSTER}.reduce:tree",
    f"{CLUSTER}.reduce:tree@3",  # of the second view, after the decoys of the first
    f"{CLUSTER}.reduce:unpack",
    f"{CLUSTER}.hand_out:total_of",
    "napari_gempick.engine.search:Search.raised",
)

EXCEPTIONS = ("MemoryError", "OSError", "ValueError", "RuntimeError")
HARMLESS = {f"{CLUSTER}.worker:Worker._is_done"}
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
    """Return cases that meet every point of each distribution once; exceptions take turns. Lists by number of ranks."""
    seen, few = set(), []
    found = []
    for case in all_cases():
        number, point, working, exception, distribution, ranks, rank = case
        if exception != EXCEPTIONS[number % 4]:
            continue
        key = point, working, distribution if working and point not in ALIKE else ""
        if ranks == 2 and rank == (0 if _first_only(point, distribution) else 1) and key not in seen:
            seen.add(key)
            found.append(case)
        if ranks == 4 and rank == 3 and (point, distribution) in FOUR:
            few.append(case)
    return found, few


FOUR = (
    ("napari_gempick.run.pipeline:prepare", "micrographs"),
    ("napari_gempick.run.pipeline:Search", "templates"),
    (f"{CLUSTER}.reduce:tree", "templates"),
)
ALIKE = {f"{CLUSTER}.conductor:Conductor.call", f"{CLUSTER}.rank:Rank._wait_turn", f"{CLUSTER}.program:wait"}
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
