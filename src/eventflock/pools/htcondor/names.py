"""The names of HTCondor's submit commands: which there are, and which of them are not the user's.

HTCondor takes any name, and ignores those that it does not know.
"""

from __future__ import annotations

import difflib
import re

from eventflock.errors import UsageError, nearest

__all__ = ["LISTS", "check_name", "normal_name"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KNOWN = _words(
    """
    accounting_group accounting_group_user allowed_execute_duration allowed_job_duration arguments
    arguments2 aws_access_key_id_file aws_region aws_secret_access_key_file batch_id batch_name
    checkpoint_destination checkpoint_exit_code common_input_files concurrency_limits
    concurrency_limits_expr container_image container_is_common container_service_names
    container_target_dir copy_to_spool core_size coresize cron_day_of_month cron_day_of_week
    cron_hour cron_minute cron_month cron_prep_time cron_window cuda_version dagman_log
    deferral_prep_time deferral_time deferral_window delegate_job_gsi_credentials_lifetime
    description docker_image docker_network_type docker_override_entrypoint docker_pull_policy
    docker_send_credentials dont_encrypt_input_files dont_encrypt_output_files email_attributes
    encrypt_execute_directory encrypt_input_files encrypt_output_files environment environment2
    erase_output_and_error_on_restart error executable getenv gpus_maximum_capability
    gpus_minimum_capability gpus_minimum_memory gpus_minimum_runtime grid_resource
    gs_access_key_id_file gs_secret_access_key_file hold hold_kill_sig image_size initialdir input
    job_ad_information_attrs job_lease_duration job_machine_attrs job_machine_attrs_history_length
    job_max_vacate_time jobset keep_claim_idle kill_sig kill_sig_timeout leave_in_queue load_profile
    log log_xml machine_count manifest manifest_dir match_list_length max_idle
    max_job_retirement_time max_materialize max_retries max_transfer_input_mb max_transfer_output_mb
    mount_under_scratch next_job_start_delay nice_user noop_job noop_job_exit_code
    noop_job_exit_signal notification notify_user on_exit_hold on_exit_hold_reason
    on_exit_hold_subcode on_exit_remove output output_destination output_directory periodic_hold
    periodic_hold_reason periodic_hold_subcode periodic_release periodic_remove periodic_vacate
    preserve_relative_paths primary_unix_group priority public_input_files rank remote_initialdir
    remove_kill_sig request_cpus request_disk request_gpus request_memory require_gpus requirements
    retry_request_memory retry_request_memory_increase retry_request_memory_max retry_until
    run_as_owner s3_access_key_id_file s3_secret_access_key_file scitokens_file send_credential
    should_transfer_files skip_filechecks skip_if_dataflow stack_size starter_debug starter_log
    stream_error stream_input stream_output submit_event_notes submit_event_user_notes
    success_exit_code suspend_job_at_exec transfer_checkpoint_files transfer_container
    transfer_error transfer_executable transfer_input transfer_input_files transfer_output
    transfer_output_files transfer_output_remaps transfer_plugins ulog_execute_attrs universe
    use_oauth_services use_scitokens use_x509userproxy want_ads want_graceful_removal want_io_proxy
    want_job_networking when_to_transfer_output x509userproxy
    """
)
"""The submit commands that a job of these universes can have."""

ALIASES = {
    "accountinggroup": "accounting_group",
    "env": "environment",
    "jobbatchname": "batch_name",
    "jobmaxretries": "max_retries",
    "jobprio": "priority",
    "jobuniverse": "universe",
    "prio": "priority",
    "requestcpus": "request_cpus",
    "requestdisk": "request_disk",
    "requestgpus": "request_gpus",
    "requestmemory": "request_memory",
    "transferinputfiles": "transfer_input_files",
    "useoauthservices": "use_oauth_services",
}
"""Other names of submit commands that HTCondor takes, in lower case."""

MEANT = {
    "cores": "request_cpus",
    "cpus": "request_cpus",
    "disk": "request_disk",
    "gpus": "request_gpus",
    "jobflavour": "+JobFlavour",
    "maxretries": "max_retries",
    "maxruntime": "+MaxRuntime",
    "memory": "request_memory",
    "projectname": "+ProjectName",
    "retries": "max_retries",
    "singularityimage": "+SingularityImage",
}
"""What is meant by names that HTCondor ignores, in lower case."""

LISTS = _words(
    """
    concurrency_limits container_service_names dont_encrypt_input_files dont_encrypt_output_files
    email_attributes encrypt_input_files encrypt_output_files job_ad_information_attrs
    job_machine_attrs mount_under_scratch public_input_files transfer_checkpoint_files
    transfer_input_files use_oauth_services
    """
)
"""Commands whose value is a list with commas."""

OURS = _words("collector max_idle profile profiles schedd spool")
"""Keys of the table [htcondor] that are settings of eventflock."""

_FILES = "Other files that jobs need go in transfer_input_files."
_TABLE = "in the table [htcondor] of eventflock.toml"
_REFUSED = (
    (
        "executable arguments args arguments2 shell",
        "jobs run what eventflock sends them",
        "What the analysis should know is a parameter: --param NAME=VALUE.",
    ),
    (
        "initialdir initial_dir iwd job_iwd remote_initialdir",
        "jobs work in folders that eventflock makes",
        f"Choose where the run is kept with --out. {_FILES}",
    ),
    ("input stdin transfer_input", "jobs read nothing from their standard input", _FILES),
    (
        """output stdout error stderr log user_log userlog log_xml dagman_log transfer_error
        transfer_output""",
        "eventflock keeps and reads what jobs write and the log of their events",
        "They are in the folder of the run.",
    ),
    (
        """should_transfer_files shouldtransferfiles when_to_transfer_output whentotransferoutput
        transfer_output_files transferoutputfiles transfer_output_remaps transferoutputremaps
        transfer_executable transferexecutable output_destination output_directory""",
        "eventflock sends jobs what they need, and fetches the result that they write",
        _FILES,
    ),
    (
        "common_input_files",
        "eventflock says which files are sent once per node: those of the environment",
        "Files that jobs need go in transfer_input_files.",
    ),
    (
        "queue max_materialize",
        "the plan says how many jobs there are",
        "Choose with --jobs or --events-per-job.",
    ),
    (
        "max_idle materialize_max_idle jobmaterializemaxidle",
        "eventflock says how many jobs may wait in the queue",
        f"Write max_idle = NUMBER {_TABLE}.",
    ),
    (
        "collector profile profiles schedd spool",
        "it is a setting of eventflock and not a submit command",
        f"Use the option of that name, or write it {_TABLE}.",
    ),
    (
        "success_exit_code retry_until on_exit_remove onexitremove",
        "eventflock knows after which ends of a job another try makes sense",
        "How many tries there are is max_retries.",
    ),
    (
        "getenv get_env",
        "variables of this machine would make jobs use a Python other than theirs",
        'Name those that are needed: [htcondor.environment] NAME = "VALUE".',
    ),
    (
        "leave_in_queue leavejobinqueue",
        "eventflock removes jobs when it has their results",
        "Leave it out.",
    ),
)
REFUSED = {name: (why, cure) for names, why, cure in _REFUSED for name in names.split()}
"""Commands that eventflock sets: why they are not the user's, and what to do instead."""

RESERVED = _words(
    """
    args arguments clusterid cmd commoninputfiles err eventflockwave in iwd jobstatus
    jobsuccessexitcode jobuniverse leavejobinqueue onexitremove out owner procid
    shouldtransferfiles transfererr transferexecutable transferin transferinput transferout
    transferoutput transferoutputremaps user userlog whentotransferoutput
    """
)
"""Attributes of a job that come from commands that eventflock sets, or from HTCondor itself."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def normal_name(name: str) -> str:
    """Return a name in the one form that it has here: `+NAME` for attributes.

    Raises
    ------
    UsageError
        It is not a name.
    """
    name = name.strip(" ")
    match = re.match(r"\+|MY\.", name, re.IGNORECASE)
    if match:
        attribute = name[match.end() :]
        if _ATTRIBUTE.fullmatch(attribute):
            return f"+{attribute}"
    elif _NAME.fullmatch(name):
        lower = name.lower()
        lower = ALIASES.get(lower, lower)
        return lower if lower in KNOWN else name
    near = nearest(name, KNOWN)
    raise UsageError(
        f"{name!r} is not a name{'; ' + near if near else '.'}",
        remedy="A submit command is letters, digits and '_'; an attribute of the job has '+' or "
        "'MY.' before them.",
    )


def check_name(name: str) -> None:
    """Check that a name, in the normal form, is one that the user can set.

    Raises
    ------
    UsageError
        eventflock sets it, or HTCondor would ignore it.
    """
    lower = name.lower()
    if lower.removeprefix("+") in RESERVED and name.startswith("+"):
        raise UsageError(
            "it is an attribute that eventflock or HTCondor sets.", remedy="Leave it out."
        )
    if lower in REFUSED:
        why, cure = REFUSED[lower]
        raise UsageError(f"{why}.", remedy=cure)
    near = _meant(name)
    if near:
        raise UsageError(
            f"HTCondor has no such command and would ignore it; {near}",
            remedy="An attribute of the job has '+' before its name.",
        )


def _meant(name: str) -> str:
    """Suggest the name that a name unknown to HTCondor may be a misspelling of."""
    lower = name.lower()
    if name.startswith("+") or lower in KNOWN:
        return ""
    if lower in MEANT:
        return f"did you mean {MEANT[lower]!r}?"
    for prefix in ("request_", "require_", ""):  # a pool can have resources of its own
        if lower.startswith(prefix):
            rests = [one.removeprefix(prefix) for one in KNOWN | OURS if one.startswith(prefix)]
            # Sites have commands of their own, so less like is not taken for a misspelling.
            close = difflib.get_close_matches(lower.removeprefix(prefix), rests, cutoff=0.8)
            return f"did you mean {prefix + close[0]!r}?" if close else ""
    return ""
