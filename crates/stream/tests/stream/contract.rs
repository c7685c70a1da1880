//! What every stream promises, checked on each implementation: a test is a function of a [`Subject`], run on all of them.

mod model;
mod producer;
mod records;
mod resharding;
mod retention;
mod subject;

macro_rules! on_every_stream {
    ($($module:ident { $($name:ident),+ $(,)? })+) => {
        mod local {
            $($(#[test] fn $name() { crate::contract::$module::$name(crate::contract::subject::Subject::local) })+)+
        }
        mod memory {
            $($(#[test] fn $name() { crate::contract::$module::$name(crate::contract::subject::Subject::memory) })+)+
        }
    };
}

on_every_stream! {
    records {
        records_come_back_in_order_from_the_shard_that_owns_their_key,
        reading_resumes_after_any_record,
        a_read_keeps_to_its_limits_but_returns_at_least_one_record,
        a_put_of_the_greatest_size_comes_back_whole,
        payloads_may_be_empty_long_or_not_text,
        keys_may_be_any_bytes_but_not_empty,
        what_is_over_a_limit_is_refused_whole,
        arrivals_never_fall,
        an_empty_shard_is_at_its_tip,
        a_position_of_another_stream_is_refused,
        an_unknown_shard_is_not_found,
    }
    resharding {
        a_split_divides_the_range_and_children_go_on,
        a_merge_unites_neighbours_in_either_order,
        contradictory_requests_are_refused_and_change_nothing,
        closing_ends_every_shard_for_good,
        generations_may_pass_without_a_record,
    }
    retention {
        nothing_is_trimmed_before_its_time,
        gaps_are_counted_exactly_from_every_position,
        a_gap_is_told_even_where_nothing_is_left,
        a_put_trims_once_a_minute,
        ends_and_tips_outlive_the_records,
    }
    producer {
        progress_is_stored_with_the_records,
        a_refused_put_stores_no_progress,
        a_put_without_records_stores_progress_alone,
        describe_tells_the_streams_identity,
    }
    model { any_history_reads_like_the_naive_model }
}
