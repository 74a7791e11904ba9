//! The kernels, and what of the suite runs on each.

/// A kernel of Debian's, for machines in clouds: small, and with everything in it that tracing needs.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Its series.
    pub(crate) version: &'static str,
    /// What its series cannot do or takes too long for under emulation.
    pub(crate) left_out: &'static [LeftOut],
}

/// Tests that do not run.
#[derive(Debug)]
pub(crate) struct LeftOut {
    /// Their names.
    pub(crate) tests: &'static [&'static str],
    /// Why not.
    pub(crate) reason: &'static str,
}

/// The suite's tests that run, but for what is left out: what depends on the kernel, exactly counted. The others need
/// servers, interpreters or a debugger, or take minutes under emulation; they run on this machine's kernel.
pub(crate) const CORE: &[&str] = &[
    "accounting::a_moving_realloc_races_with_those_who_take_its_old_place",
    "accounting::blocks_beyond_the_near_table_are_counted_as_well",
    "accounting::blocks_freed_by_another_thread_are_freed_at_their_site",
    "accounting::blocks_from_before_the_attach_are_unknown_frees",
    "accounting::blocks_of_children_are_not_counted",
    "accounting::failed_and_empty_calls",
    "accounting::realloc_in_all_its_ways",
    "bad_input::a_target_that_exits_is_reported_to_its_end",
    "bad_input::a_target_that_is_killed_is_reported_to_its_end",
    "bad_input::a_thread_instead_of_a_process",
    "bad_input::usage_errors",
    "descriptors::calls_that_fail_open_nothing",
    "descriptors::children_have_descriptors_of_their_own",
    "descriptors::closes_of_one_and_of_many",
    "descriptors::copies_and_what_they_replace",
    "descriptors::events_timers_and_memory",
    "descriptors::exec_leaves_what_is_not_marked_to_be_closed",
    "descriptors::files_by_every_call",
    "descriptors::io_uring_opens_and_closes",
    "descriptors::pipes",
    "descriptors::processes_and_what_is_taken_from_them",
    "descriptors::threads_race_for_the_same_numbers",
    "growth::sites_are_found_and_estimated_within_their_errors",
    "growth::the_detach_is_quick_and_leaves_nothing",
    "heap_functions::every_function_is_counted_at_its_caller",
    "languages::a_library_opened_while_traced",
    "languages::cpp",
    "languages::rust",
    "launched::a_chain_of_programs_is_traced_in_its_last_one",
    "launched::its_end_is_leaktraces",
    "launched::what_a_library_allocates_before_main_is_told_apart",
    "lifecycle::a_killed_leaktrace_leaves_no_probe_behind",
    "lifecycle::no_probe_is_left_behind",
    "lifecycle::two_tracers_of_one_process_say_the_same",
    "ranges::threads_map_what_others_unmap",
    "ranges::what_is_mapped_cut_moved_and_resized",
    "sampling::a_burst_into_a_small_table_is_estimated",
    "sampling::a_rate_of_one_is_exact",
    "sockets::accepted_ones",
    "sockets::connected_at_once_later_or_not_at_all",
    "sockets::passed_in_messages",
    "sockets::sockets_by_every_call",
    "targets::a_program_that_becomes_another_is_traced_on",
    "targets::workers_that_are_forked_are_followed",
    "threads::many_threads_at_once",
    "threads::threads_that_come_and_go",
];

/// Those of the core that every change has to pass: they load the programs that each kernel has, and count blocks and
/// descriptors by them.
pub(crate) const FIRST: &[&str] = &["accounting::realloc_in_all_its_ways", "descriptors::files_by_every_call"];

/// The kernels on which every change has to pass them: 6.12 has the programs that the newest have.
pub(crate) const FIRST_ON: [&str; 2] = ["5.10", "6.1"];

/// It has the programs for older kernels: without typed tracepoints, `bpf_loop`, cookies, and atomics that return a value.
const LEFT_OUT_5_10: &[LeftOut] = &[
    LeftOut {
        tests: &["sampling::a_burst_into_a_small_table_is_estimated"],
        reason: "the programs double the rate themselves by a compare-and-exchange (Linux 5.12); before, user space does, and a \
                 burst can be faster: what does not fit then is counted as lost",
    },
    LeftOut {
        tests: &[
            "growth::sites_are_found_and_estimated_within_their_errors",
            "growth::the_detach_is_quick_and_leaves_nothing",
        ],
        reason: "page faults are followed by typed tracepoints with bpf_loop (Linux 5.17); before, --growth is refused",
    },
    LeftOut {
        tests: &["descriptors::closes_of_one_and_of_many"],
        reason: "the program uses CLOSE_RANGE_CLOEXEC, which is of Linux 5.11",
    },
    LeftOut {
        tests: &["descriptors::exec_leaves_what_is_not_marked_to_be_closed"],
        reason: "what exec closes takes bpf_loop (Linux 5.17); before, the comparison with the kernel's table finds it, \
                 and the report calls that unseen closes",
    },
    LeftOut {
        tests: &["descriptors::io_uring_opens_and_closes"],
        reason: "what io_uring opens takes typed tracepoints with bpf_loop (Linux 5.17); before, the comparison finds it, \
                 without a site",
    },
    LeftOut {
        tests: &["descriptors::threads_race_for_the_same_numbers"],
        reason: "exact counts of threads that race for one number take a compare-and-exchange (Linux 5.12); without it, \
                 about one call in 300,000 of such a race is counted as still open",
    },
    LeftOut {
        tests: &[
            "accounting::blocks_beyond_the_near_table_are_counted_as_well",
            "bad_input::a_target_that_is_killed_is_reported_to_its_end",
            "descriptors::calls_that_fail_open_nothing",
            "lifecycle::two_tracers_of_one_process_say_the_same",
            "sockets::sockets_by_every_call",
        ],
        reason: "time: the verifier takes seconds for the bounded walks at each attach under emulation",
    },
];

const LEFT_OUT_6_1: &[LeftOut] = &[LeftOut {
    tests: &["descriptors::io_uring_opens_and_closes"],
    reason: "an accept that goes on (multishot) is marked elsewhere in the request there; what it opens is found by the \
             comparison, without a site",
}];

/// Oldest first. The newest column of the matrix is the kernel that runs the integration suite.
pub(crate) const KERNELS: &[Kernel] = &[
    Kernel { version: "5.10", left_out: LEFT_OUT_5_10 },
    Kernel { version: "6.1", left_out: LEFT_OUT_6_1 },
    Kernel { version: "6.12", left_out: &[] },
];
