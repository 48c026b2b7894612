//! KEDA and the autoscaler under it, a second at a time: what a step of load or an outage's backlog does to the number of
//! pods.
//!
//! KEDA serves the queue's length (waiting and in flight) to a HorizontalPodAutoscaler, which looks every 15 s, wants
//! `ceil(length / queueLength)` pods, grows by four pods or by doubling in 15 s, whichever is more, and shrinks only to the
//! most it wanted in the last 300 s.
//! <https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/autoscaling/v2/defaults.go>

use crate::cluster::Cluster;

/// The autoscaler's sync period, and the period of its scale-up policies.
const LOOK: u64 = 15;
/// Pods that it may add in that time however few there are.
const FOUR: usize = 4;
/// For so long no fewer than the most that was wanted.
const REMEMBERED: u64 = 300;
/// It leaves alone what is within this share of the target.
const TOLERANCE: f64 = 0.1;
/// From a pod's creation to its first receive: scheduling, a cached image, the start.
pub(crate) const START: u64 = 5;

/// What comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    /// Messages waiting at the beginning.
    pub(crate) backlog: f64,
    /// Messages a second, before and after `step_at`.
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

/// Each pod does `each` messages a second and holds a message for `held` seconds.
pub(crate) fn run(cluster: &Cluster, each: f64, held: f64, course: Course, seconds: u64) -> Vec<Second> {
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
        if at % LOOK != 0 {
            continue;
        }
        let length = backlog + done * held;
        let ratio = length / (pods as f64 * target);
        let asked = if (ratio - 1.0).abs() <= TOLERANCE { pods } else { (length / target).ceil() as usize };
        let asked = asked.clamp(cluster.min_replicas, cluster.max_replicas);
        wanted_lately.push((at, asked));
        wanted_lately.retain(|(since, _)| at - since < REMEMBERED);
        let most = wanted_lately.iter().map(|(_, n)| *n).max().unwrap_or(asked);
        let next = if asked > pods { asked.min((pods * 2).max(pods + FOUR)) } else { pods.min(most) };
        if next > pods {
            starting.push((at, next - pods));
        } else if next < pods {
            starting.clear();
        }
        pods = next;
    }
    out
}

/// When the backlog was first below one second's arrivals, after the worst.
pub(crate) fn recovered(course: Course, seconds: &[Second]) -> Option<u64> {
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
    fn a_backlog_doubles_the_pods_up_to_the_most_and_they_stay_for_five_minutes() {
        let course = Course { backlog: 100_000.0, before: 100.0, after: 100.0, step_at: 0 };
        let seconds = run(&CLUSTER, 500.0, 0.1, course, 900);
        assert_eq!(seconds[12].pods, 5, "one and four more");
        assert_eq!(seconds[30].pods, 10);
        let over = recovered(course, &seconds).unwrap();
        assert!((20..40).contains(&over), "{over}");
        assert_eq!(seconds[over as usize + 200].pods, 10);
        assert_eq!(seconds[899].pods, 1);
    }

    #[test]
    fn what_one_pod_can_do_needs_no_other() {
        let course = Course { backlog: 0.0, before: 100.0, after: 100.0, step_at: 0 };
        assert!(
            run(&CLUSTER, 500.0, 0.1, course, 600)
                .iter()
                .all(|second| second.pods == 1 && second.backlog < 1.0)
        );
    }
}
