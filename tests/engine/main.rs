//! What every engine promises, tried on each of them: identity, tokens, names, leases,
//! streams, history, and for those that remember, restarts.
//!
//! A new engine joins with one impl and one line: implement [`subject::Subject`] for it (how
//! it is started, stopped and killed, and what it remembers), and add it to `main`. What it
//! remembers decides which promises about restarts it has to keep; no other promise is
//! left out. If one does not fit an engine, the contract decides who is wrong.
//!
//! A promise is a function over a subject, in the module of its topic, and a name in the table
//! below. It talks to `leasehold::engine` alone, in real time: what it waits for has a
//! deadline of many seconds, and nothing is asserted about how fast an engine is, but that it
//! never lets go of a lease early. Where the machine may have been too busy to keep a lease
//! for a second, a promise tries again.
//!
//! Promises wait most of the time, so many are tried at once, which is why they have a harness
//! of their own. It takes the arguments of the usual one:
//! `cargo test --test engine -- on_disk_sync::leases`.

#![allow(clippy::unwrap_used)]

mod embedded;
mod follower;
mod history;
mod identity;
mod leases;
mod names;
mod random;
mod restart;
mod resumed;
mod rig;
mod streams;
mod subject;
mod tokens;

use std::{num::NonZero, process::ExitCode, thread};

use libtest_mimic::{Arguments, Trial};

use embedded::{DurabilityNone, DurabilityOs, DurabilitySync, InMemory, OnDisk};
use subject::{Remembers, Subject};

/// How many promises are tried at once for each core, and in all.
const AT_ONCE: (usize, usize) = (8, 64);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    arguments.test_threads.get_or_insert((cores * AT_ONCE.0).min(AT_ONCE.1));
    let engines = [
        promises::<InMemory>("in_memory"),
        promises::<OnDisk<DurabilitySync>>("on_disk_sync"),
        promises::<OnDisk<DurabilityOs>>("on_disk_os"),
        promises::<OnDisk<DurabilityNone>>("on_disk_none"),
    ];
    libtest_mimic::run(&arguments, engines.into_iter().flatten().collect()).exit_code()
}

/// A trial for each of these promises.
macro_rules! table {
    ($engine:expr, $subject:ty: $($topic:ident { $($promise:ident)+ })+) => {
        vec![$($(
            trial(
                format!("{}::{}::{}", $engine, stringify!($topic), stringify!($promise)),
                $topic::$promise::<$subject>,
            ),
        )+)+]
    };
}

/// All that an engine has to keep.
fn promises<S: Subject + 'static>(engine: &str) -> Vec<Trial> {
    let mut all = table! { engine, S:
        identity {
            a_registration_is_listed_as_it_was_sent
            ttl_wishes_are_clamped
            the_same_again_renews_and_changes_nothing
            another_url_or_service_is_another_replica
            other_content_updates_in_place
            a_lapsed_pair_that_registers_is_revived
            a_deregistered_pair_begins_anew
            many_who_register_one_pair_at_once_have_one_id
            the_newest_of_a_client_sent_id_replaces_the_older
        }
        tokens {
            a_token_is_checked_where_it_is_given
            a_token_can_be_required
            a_registration_without_its_token_gets_another
        }
        names {
            a_name_means_one_or_nobody
            a_caller_means_its_own
            a_name_means_the_lapsed_too
            a_pair_counts_once_in_a_name
        }
        leases {
            an_engine_serves_from_its_start
            a_lease_ends_by_its_ttl_and_not_before
            renewals_keep_a_lease
            a_renewal_is_no_change
            another_ttl_holds_at_once
            a_lapsed_lease_is_revived_by_a_renewal
            a_lapsed_lease_can_be_ended
            a_deregistration_is_told_at_once
            a_revive_window_ends
            who_is_frozen_expires_nobody
            a_mass_expiry_is_spread
            the_brake_can_be_off
        }
        streams {
            attaching_and_each_beat_renew_all
            beats_keep_what_is_attached
            who_cannot_be_attached_is_named
            a_drop_by_the_client_expires_at_once
            who_drops_with_a_grace_is_suspect
            only_the_grace_counts_for_a_suspect
            the_server_has_a_grace_for_those_who_name_none
            behind_a_proxy_the_grace_is_the_ttl
            a_stream_that_the_server_ends_expires_nobody
            a_moved_lease_is_deaf_to_its_old_stream
            what_is_detached_has_a_full_ttl
            a_renewal_after_the_drop_counts
        }
        history {
            an_answer_comes_after_its_change_can_be_read
            what_many_write_is_told_once_and_in_order
            what_is_registered_together_is_seen_together
            a_revision_is_not_made_of_too_much
            one_bad_entry_does_not_stop_the_others
            a_snapshot_and_what_came_since_are_the_list
            a_filter_shows_who_enters_and_who_leaves
        }
        random {
            every_history_is_sound
        }
        restart {
            who_closes_acknowledges_nothing_more
        }
    };
    all.extend(match S::REMEMBERS {
        Remembers::Nothing => table! { engine, S:
            restart {
                a_start_begins_with_nothing
            }
        },
        Remembers::AfterStop | Remembers::Always => table! { engine, S:
            restart {
                all_that_was_acknowledged_is_back_once
                an_empty_registry_is_back_empty
                readers_go_on_where_they_were
                no_revision_is_given_twice
                a_kill_leaves_what_was_at_some_revision
            }
            resumed {
                a_restart_expires_nobody
                a_lease_that_was_renewed_comes_back_too
                who_was_suspect_is_suspect
                a_suspect_ends_after_a_restart_too
                the_lapsed_can_come_back
                the_dead_stay_dead
                a_window_that_is_over_is_over
                a_lease_token_is_kept
                where_a_registration_came_from_is_kept
                a_client_sent_id_is_kept
                a_drop_grace_is_kept
            }
        },
    });
    all
}

fn trial<F: Future>(name: String, promise: impl FnOnce() -> F + Send + 'static) -> Trial {
    Trial::test(name, || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(promise());
        Ok(())
    })
}
