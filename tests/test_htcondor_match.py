"""Why no slot can run a job: against HTCondor's own ClassAd library, and ads as real pools have them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflock.pools.batch.needs import JobNeeds
from eventflock.pools.htcondor.likely import likely_job
from eventflock.pools.htcondor.match import Clause, explain, in_words

classad2 = pytest.importorskip("classad2")
classad2.parseOne("A = 1")  # until it has read an ad, names mean less to it than to HTCondor

REQUIREMENTS = (
    '(TARGET.Arch == "X86_64") && (TARGET.OpSys == "LINUX") && (TARGET.Disk >= RequestDisk) && '
    "(TARGET.Memory >= RequestMemory) && (TARGET.HasFileTransfer)"
)
"""What HTCondor adds to what the user demands."""
LIMITS = (
    "(MY.Cpus > 0 && TARGET.RequestCpus <= MY.Cpus && MY.Memory > 0 && TARGET.RequestMemory <= "
    "MY.Memory && MY.Disk > 0 && TARGET.RequestDisk <= MY.Disk && (TARGET.RequestGPUs =?= "
    "undefined || MY.GPUs >= TARGET.RequestGPUs))"
)


def expression(text: str) -> Any:
    return classad2.ExprTree(text)


def job(demands: str = "", **has: Any) -> Any:
    ad = classad2.ClassAd(
        {"RequestMemory": 2000, "RequestDisk": 102400, "RequestCpus": 1, "Owner": "ada"} | has
    )
    ad["Requirements"] = expression(f"({demands}) && {REQUIREMENTS}" if demands else REQUIREMENTS)
    return ad


NEEDS = JobNeeds(memory_mb=1500, disk_mb=2000)


def static(**has: Any) -> Any:
    """Make the ad of a static slot, with the attributes that matter."""
    plain: dict[str, Any] = {
        "MyType": "Machine",
        "SlotType": "Static",
        "Arch": "X86_64",
        "OpSys": "LINUX",
    }
    plain |= {"OpSysAndVer": "Debian13", "HasFileTransfer": True, "FileSystemDomain": "node.vm"}
    plain |= {"Memory": 24105, "Disk": 79473144, "Cpus": 2, "GPUs": 0, "HasMPI": True}
    ad = classad2.ClassAd(plain | {"Start": True} | has)
    ad["WithinResourceLimits"] = expression(LIMITS)
    ad.setdefault("Requirements", expression("START && (WithinResourceLimits)"))
    return ad


def partitionable(**has: Any) -> Any:
    """Make the ad of a partitionable slot of which everything is in use."""
    total = {"TotalSlotMemory": 24105, "TotalSlotDisk": 79473144.0, "TotalSlotCpus": 2}
    free = {"Memory": 0, "Disk": 0, "Cpus": 0, "SlotType": "Partitionable"}
    return static(**(free | total | {"PartitionableSlot": True, "TotalSlotGPUs": 0} | has))


def test_the_demand_of_the_user_and_the_memory() -> None:
    slots = [static(OpSysAndVer="Debian13" if row < 118 else "AlmaLinux9") for row in range(120)]
    slots[3:] = [static(**dict(slot) | {"Memory": 99000}) for slot in slots[3:]]
    found = explain(job('OpSysAndVer =?= "SL6"', RequestMemory=64000), slots)
    assert (found.slots, found.matching, found.pairs) == (120, 0, ())
    assert in_words(found) == (
        "No slot of the pool can run these jobs: of 120 slots,\n"
        '  120 are excluded by  OpSysAndVer =?= "SL6"  (the slots have: Debian13 118, AlmaLinux9 2)\n'
        "  3 by the memory asked for, 64,000 MB (the largest slot has 99,000 MB)"
    )
    assert found.clauses[0].text == 'OpSysAndVer =?= "SL6"'


def test_no_slots_and_good_slots() -> None:
    assert "has no slots" in in_words(explain(job(), []))
    found = explain(job(), [static(), partitionable()])
    assert (found.slots, found.matching, found.clauses) == (2, 2, ())
    assert in_words(found) == "Every slot of the pool can run these jobs when it is free (2 slots)."
    some = in_words(explain(job(), [static(), static(Arch="aarch64")]))
    assert some == (
        "1 of 2 slots of the pool can run these jobs; of the others,\n"
        "  1 is excluded by the kind of processor asked for, X86_64 (the slots have: X86_64 1, aarch64 1)"
    )


def test_a_partitionable_slot_counts_with_all_it_has() -> None:
    dynamic = partitionable(SlotType="Dynamic", DynamicSlot=True, Requirements=False)
    full = [partitionable(), dynamic, dynamic]
    assert explain(job(), full).matching == explain(job(), full).slots == 1
    found = explain(job(RequestMemory=64000, RequestCpus=8, RequestDisk=10**9), full)
    assert {clause.words for clause in found.clauses} == {
        "the memory asked for, 64,000 MB (the largest slot has 24,105 MB)",
        "the cores asked for, 8 (the largest slot has 2)",
        "the disk asked for, 976,562 MB (the largest slot has 77,610 MB)",
    }
    assert [one.excludes for one in found.clauses] == [1, 1, 1]  # by job and slot: counted once


def test_the_disk_as_version_25_demands_it() -> None:
    demand = (
        '(versionGE(split(TARGET.CondorVersion)[1], "25.12.0") || (TARGET.Disk >= RequestDisk))'
    )
    wish = job(RequestDisk=10**9)
    wish["Requirements"] = expression(demand)
    old, new = (
        static(CondorVersion=f"$CondorVersion: {name} 2026 $") for name in ("25.1.0", "26.0.0")
    )
    new["WithinResourceLimits"] = True
    found = explain(wish, [old, new])
    assert [clause.words for clause in found.clauses] == [
        "the disk asked for, 976,562 MB (the largest slot has 77,610 MB)"
    ]
    assert found.matching == 1


def test_what_is_asked_for_may_be_an_expression() -> None:
    wish = expression("ifThenElse(MemoryUsage =!= undefined, MemoryUsage * 2, 100)")
    found = explain(job(RequestMemory=wish, MemoryUsage=30000), [static()])
    assert "the memory asked for, 60,000 MB" in found.clauses[0].words


def test_gpus() -> None:
    kind = "countMatches(MY.RequireGPUs, TARGET.AvailableGPUs) >= RequestGPUs"
    needs = expression("Capability >= 7.5")
    wish = job(f"{kind} && TARGET.GPUs >= RequestGPUs", RequestGPUs=1, RequireGPUs=needs)
    good, old = (classad2.ClassAd({"Capability": one}) for one in (8.0, 5.0))
    busy = partitionable(TotalSlotGPUs=1, GPUs=0, AvailableGPUs=[], GPUs_GPU_a=good)
    found = explain(wish, [busy, static()])
    assert found.matching == 1
    assert "the GPUs asked for, 1 (the largest slot has 1)" in {
        clause.words for clause in found.clauses
    }
    idle = static(GPUs=1, AvailableGPUs=[expression("GPUs_GPU_b")], GPUs_GPU_b=good)
    assert explain(wish, [idle]).matching == 1
    busy["GPUs_GPU_a"] = old
    assert [one.text[:12] for one in explain(wish, [busy]).clauses] == ["countMatches"]
    assert "Capability" not in explain(wish, [static(GPUs=1)]).clauses[0].words
    found = explain(wish, [static()])
    assert "the GPUs asked for, 1 (no slot has any)" in {one.words for one in found.clauses}


@pytest.mark.parametrize(
    ("demands", "words"),
    [
        ("HasMPY", "HasMPY  (no slot advertises HasMPY; did you mean 'HasMPI'?)"),
        ("TARGET.Cvmfs > 3", "TARGET.Cvmfs > 3  (no slot advertises Cvmfs)"),
        ('OpSysAndVer > 3 && Cpus > 0', "OpSysAndVer > 3  (the slots have: Debian13 2; it cannot be evaluated on 2 slots)"),
        ("MY.Wanted == 3", "MY.Wanted == 3  (the jobs have no Wanted)"),
        ('TARGET.OpSys == "WINDOWS"', "the operating system asked for, WINDOWS (the slots have: LINUX 2)"),
        ('OpSys != "LINUX"', 'OpSys != "LINUX"  (the slots have: LINUX 2)'),
        ("TARGET.FileSystemDomain == MY.FileSystemDomain", "the shared file system asked for, vm (the slots have: node.vm 2)"),
        ("TARGET.Memory > 10 * Cpus * TARGET.Memory", "(Cpus of the slots: 2 2; Memory of the slots: 24105 2)"),
        ("Half", "Half  (the slots have: false 1; 1 do not advertise Half)"),
    ],
)  # fmt: skip
def test_words_of_a_clause(demands: str, words: str) -> None:
    found = explain(job(demands, FileSystemDomain="vm"), [static(), static(Half=False)])
    assert found.clauses[0].excludes == 2
    assert words in found.clauses[0].words
    assert found.matching == 0


def test_what_the_slots_demand() -> None:
    theirs = static(Start=expression('TARGET.Owner == "atlas" && TARGET.Project =!= undefined'))
    closed = static(Start=False)
    found = explain(job(), [theirs, closed, closed, static()])
    assert (found.slots, found.matching) == (4, 1)
    words = [clause.words for clause in found.clauses]
    assert words[0] == "their own condition  START  (it is not true now for these jobs)"
    assert 'their own condition  TARGET.Owner == "atlas"  (the jobs have Owner ada)' in words
    assert any("Project none" in word for word in words)
    never = explain(job(), [static(Requirements=False)])
    assert never.clauses[0].words.startswith("their own condition  Requirements")


def test_definitions_of_the_job_are_followed() -> None:
    found = explain(
        job("MY.PackOptions", PackOptions=expression("Cpus > 5 && Memory > 1")), [static()]
    )
    assert [clause.text for clause in found.clauses] == ["Cpus > 5"]
    circular = explain(
        job("PackOptions", PackOptions=expression("PackOptions && Cpus > 5")), [static()]
    )
    assert circular.matching == 0
    theirs = static(Start=expression("Other"), Other=expression("Start || PackOptions"))
    assert explain(job(), [theirs, static()]).matching == 1
    bare = classad2.ClassAd({"RequestMemory": 1, "RequestDisk": 1, "RequestCpus": 1})
    assert explain(bare, [static()]).matching == 1


def test_demands_that_exclude_all_only_together() -> None:
    slots = [static(Os="a", Cpus=8)] * 2 + [static(Os="b", Cpus=1)] * 3
    found = explain(job('Os == "a" && Cpus < 4'), slots)
    assert (found.matching, found.pairs) == (0, ((0, 1),))
    assert in_words(found).splitlines() == [
        "No slot of the pool can run these jobs, though no demand alone excludes all: of 5 slots,",
        '  3 are excluded by  Os == "a"  (the slots have: b 3, a 2)',
        "  2 by  Cpus < 4  (the slots have: 1 3, 8 2)",
        'Together, Os == "a" and Cpus < 4 leave none.',
    ]
    three = [static(A=index == 0, B=index == 1, C=index == 2) for index in range(3)]
    found = explain(job("!A && !B && !C"), three)
    assert (found.matching, found.pairs) == (0, ())
    assert "no demand alone" in in_words(found)


def test_long_lists_are_cut() -> None:
    slots = [static(Name=f"slot{row // 2}", Weight=row) for row in range(40)]
    words = in_words(
        explain(job('Name == "x" && Weight > 99 && ' + "A < 1 && " * 200 + "B"), slots)
    )
    assert "slot7 2 and 12 others" in words
    assert "the slots have: 0 to 39" in words
    many = " && ".join(f"A{row} > {row}" for row in range(20))
    assert "  and some by 12 other demands" in in_words(explain(job(many), slots))
    assert len(explain(job(f'Name == "{"x" * 9999}"'), slots).clauses[0].words) < 500
    unique = [static(Name=f"slot{row}") for row in range(40)]
    assert "40 different ones" in in_words(explain(job('Name == "x"'), unique))


SLOT = st.fixed_dictionaries(
    {"Cpus": st.integers(0, 3), "Os": st.sampled_from(["a", "b"])},
    optional={"Extra": st.booleans(), "Memory": st.integers(0, 5000), "Owner": st.just("ada")},
)
DEMANDS = st.sampled_from(
    [
        *('Os == "a"', "Cpus > 1", "Extra", "Extra =!= true", "Os > 3 || Cpus > 1", "WithinResourceLimits"),
        *("Cpus * 2 > RequestCpus && Memory > 100", "MY.Owner == TARGET.Owner", "TARGET.Start", "Cpus"),
    ]
)  # fmt: skip
STARTS = st.sampled_from(
    ["true", 'Owner == "ada"', "TARGET.RequestCpus < Cpus", "Extra && Os == \"b\"", "PackOptions", "undefined"]
)  # fmt: skip


@given(
    slots=st.lists(st.tuples(SLOT, STARTS), max_size=6),
    demands=st.lists(DEMANDS, min_size=1, max_size=3),
    memory=st.integers(1, 3000),
)
def test_it_agrees_with_the_library(
    slots: list[tuple[dict[str, Any], str]], demands: list[str], memory: int
) -> None:
    ads = [static(**has, Start=expression(start)) for has, start in slots]
    one = job(" && ".join(f"({text})" for text in demands), RequestMemory=memory, PackOptions=True)
    found = explain(one, ads)
    assert found.slots == len(ads)
    assert found.matching == sum(one.symmetricMatch(ad) for ad in ads)
    excludes = [clause.excludes for clause in found.clauses]
    assert excludes == sorted(excludes, reverse=True)
    assert max(excludes, default=0) <= len(ads) - found.matching <= sum(excludes)
    assert in_words(found)


def test_a_large_pool_takes_seconds() -> None:
    kinds = [static(Memory=1000 * row, Disk=10**6 + row) for row in range(2000)]
    start = time.process_time()
    found = explain(job("Cpus > 5"), kinds * 25)
    assert time.process_time() - start < 5
    assert found.slots == 50000
    assert found.clauses[0] == Clause(
        text="Cpus > 5", excludes=50000, words="Cpus > 5  (the slots have: 2 50,000)"
    )


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ({"requirements": 'GLIDEIN_Site == "CERN"'}, "no slot advertises GLIDEIN_Site"),
        ({"requirements": "OpSysAndVer == Debian13"}, "no slot advertises Debian13; OpSysAndVer of the slots: Debian13 2"),
        ({"request_gpus": "1"}, "the gpus asked for, 1 (no slot has any)"),
        ({"request_memory": "9 TB"}, "the memory asked for, 9,437,184 MB (the largest slot has 24,105 MB)"),
        ({"request_memory": "max({4000, 40000})"}, "the memory asked for, 40,000 MB"),
        ({"request_disk": "1T"}, "the disk asked for, 1,048,576 MB"),
        ({"request_cpus": "64"}, "the cores asked for, 64 (the largest slot has 2)"),
    ],
)  # fmt: skip
def test_what_is_said_before_jobs_are_submitted(commands: dict[str, str], words: str) -> None:
    found = explain(likely_job(commands, NEEDS), [static(), partitionable()], of_slots=False)
    assert not found.matching
    assert words in in_words(found)


@pytest.mark.parametrize(
    "commands",
    [
        {"requirements": 'OpSysAndVer == "Debian13"', "request_memory": "2 GB"},
        {"requirements": "Memory > 1000 && HasMPI", "request_disk": "500MB", "+Project": '"x"'},
        {"requirements": "TARGET.Disk > MY.RequestDisk * 2", "request_cpus": "2"},
    ],
)
def test_what_slots_demand_is_not_known_before(commands: dict[str, str]) -> None:
    """A slot may want attributes of jobs that HTCondor adds when they are submitted."""
    slots = [static(Start=expression('Owner == "alice"')), partitionable()]
    assert explain(likely_job(commands, NEEDS), slots, of_slots=False).matching == 2
