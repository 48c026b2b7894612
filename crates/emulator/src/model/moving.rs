//! Carries out move tasks: a task catches up whenever the model is asked something, by the time that has passed.

use super::{
    move_task::{MoveTask, Status},
    world::World,
};
use crate::clock::Time;

impl World {
    /// Lets every running task catch up.
    pub(crate) fn run_move_tasks(&mut self, now: Time) {
        for place in 0..self.tasks.len() {
            if self.tasks[place].status == Status::Running {
                let mut task = self.tasks[place].clone();
                self.run_task(&mut task, now);
                self.tasks[place] = task;
            }
        }
    }

    fn run_task(&mut self, task: &mut MoveTask, now: Time) {
        let Some(source) = self.queues.get_mut(&task.source) else {
            return task.fail("AWS.SimpleQueueService.NonExistentQueue");
        };
        source.advance(now);
        let ready = source.visible_before(task.end);
        let due = task.due(now).saturating_sub(task.moved);
        let now_due = ready.len().min(usize::try_from(due).unwrap_or(usize::MAX));
        for (key, origin) in &ready[..now_due] {
            let Some(target) = task.destination.as_ref().or(origin.as_ref()) else {
                return task.fail("CouldNotDetermineMessageSource");
            };
            if !self.queues.contains_key(target) {
                return task.fail("AWS.SimpleQueueService.NonExistentQueue");
            }
            let taken = self.queues.get_mut(&task.source).and_then(|source| source.remove(*key));
            let sequence = self.next_sequence();
            if let (Some(mut message), Some(target)) = (taken, self.queues.get_mut(target)) {
                message.enqueued = now;
                if target.settings.fifo {
                    message.sequence = Some(sequence);
                }
                let delay = target.settings.delay;
                target.put(message, delay, now);
            }
            task.moved += 1;
        }
        if now_due == ready.len() {
            task.status = Status::Completed;
        }
    }
}
