//! Autoscaling second by second: how the number of pods follows a step in load or a backlog.
//!
//! KEDA reports the queue's length (visible and in flight) to a HorizontalPodAutoscaler. Every 15 s it asks for
//! `ceil(length / queueLength)` pods. It adds at most four pods or as many as there are, whichever is more. It removes pods
//! down to the highest number that it asked for in the last 300 s.
//! <https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/autoscaling/v2/defaults.go>

use crate::cluster::Cluster;

/// Seconds between two decisions of the autoscaler.
const DECISION_PERIOD: u64 = 15;
/// Pods that one decision may add, however few there are.
const PODS_ADDED: usize = 4;
/// Seconds of the stabilization window: no scaling below the highest number asked for within it.
const STABILIZATION: u64 = 300;
/// A queue within this share of its target changes nothing.
const TOLERANCE: f64 = 0.1;
/// Seconds from a pod's creation to its first receive (an assumption: scheduling, and an image that is cached).
pub(crate) const START: u64 = 5;

/// The load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    /// Messages in the queue at the start.
    pub(crate) backlog: f64,
    /// Messages per second, before and after `step_at`.
    pub(crate) before: f64,
    pub(crate) after: f64,
    pub(crate) step_at: u64,
}

/// One second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Second {
    pub(crate) at: u64,
    pub(crate) backlog: f64,
    pub(crate) pods: usize,
}

/// The course of `seconds` seconds, where each pod does `each` messages per second and a message is in flight for
/// `time_in_flight` seconds.
pub(crate) fn run(
    cluster: &Cluster,
    each: f64,
    time_in_flight: f64,
    course: Course,
    seconds: u64,
) -> Vec<Second> {
    let target = cluster.max_in_flight as f64;
    let (mut pods, mut backlog) = (cluster.min_replicas, course.backlog);
    let mut starting: Vec<(u64, usize)> = Vec::new();
    let mut wanted_lately: Vec<(u64, usize)> = Vec::new();
    let mut out = Vec::new();
    for at in 0..seconds {
        let rate = if at < course.step_at { course.before } else { course.after };
        let ready = pods
            - starting
                .iter()
                .filter(|(since, _)| at < since + START + cluster.min_ready)
                .map(|(_, n)| n)
                .sum::<usize>();
        let done = (ready as f64 * each).min(backlog + rate);
        backlog += rate - done;
        out.push(Second { at, backlog, pods: ready });
        if at % DECISION_PERIOD != 0 {
            continue;
        }
        let length = backlog + done * time_in_flight;
        let ratio = length / (pods as f64 * target);
        let asked = if (ratio - 1.0).abs() <= TOLERANCE { pods } else { (length / target).ceil() as usize };
        let asked = asked.clamp(cluster.min_replicas, cluster.max_replicas);
        wanted_lately.push((at, asked));
        wanted_lately.retain(|(since, _)| at - since < STABILIZATION);
        let most = wanted_lately.iter().map(|(_, n)| *n).max().unwrap_or(asked);
        let next = if asked > pods { asked.min((pods * 2).max(pods + PODS_ADDED)) } else { pods.min(most) };
        if next > pods {
            starting.push((at, next - pods));
        } else if next < pods {
            starting.clear();
        }
        pods = next;
    }
    out
}

/// When the backlog, past its peak, first fell below one second's arrivals: seconds after `step_at`.
pub(crate) fn recovery(course: Course, seconds: &[Second]) -> Option<u64> {
    let worst = seconds.iter().max_by(|a, b| a.backlog.total_cmp(&b.backlog))?.at;
    let calm = |second: &&Second| second.at >= worst && second.backlog <= course.after;
    seconds.iter().find(calm).map(|second| second.at - course.step_at.min(second.at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: Cluster = Cluster {
        cores: 1,
        memory_mib: 128.0,
        max_in_flight: 64,
        min_replicas: 1,
        max_replicas: 10,
        polling_interval: 15,
        min_ready: 3,
    };

    #[test]
    fn a_backlog_scales_to_the_maximum_and_the_pods_stay_for_five_minutes() {
        let course = Course { backlog: 100_000.0, before: 100.0, after: 100.0, step_at: 0 };
        let seconds = run(&CLUSTER, 500.0, 0.1, course, 900);
        assert_eq!(seconds[12].pods, 5, "one, and the four that may be added");
        assert_eq!(seconds[30].pods, 10);
        let over = recovery(course, &seconds).unwrap();
        assert!((20..40).contains(&over), "{over}");
        assert_eq!(seconds[over as usize + 200].pods, 10);
        assert_eq!(seconds[899].pods, 1);
    }

    #[test]
    fn a_load_that_one_pod_can_do_starts_no_second_one() {
        let course = Course { backlog: 0.0, before: 100.0, after: 100.0, step_at: 0 };
        assert!(
            run(&CLUSTER, 500.0, 0.1, course, 600)
                .iter()
                .all(|second| second.pods == 1 && second.backlog < 1.0)
        );
    }
}
