//! Leaves out faults of a plan that fails, for as long as it still does: what is left is the story.

use crate::plan::Plan;
use crate::run::run;

/// The plan with the fewest faults that was found to fail still. `plan` itself if it does not fail.
pub fn shrink(plan: &Plan) -> Plan {
    let mut smallest = plan.clone();
    let mut at = 0;
    while at < smallest.faults.len() {
        let mut faults = smallest.faults.clone();
        faults.remove(at);
        let without = smallest.with_faults(faults);
        if run(&without).violations.is_empty() {
            at += 1;
        } else {
            (smallest, at) = (without, 0);
        }
    }
    smallest
}
