//! "When faults stop, the run ends": from a state, what happens in a world without faults, in two ways of it.

use crate::{
    outside,
    protocol::{Action, Protocol},
    run::{Event, Verdict},
    world::{APPROVER, OPERATOR, Outsider, Status, Step, World},
};

/// More than a run takes from anywhere.
const STEPS_MAX: u32 = 400;

/// A way in which a world without faults goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Approvers permit, the first process goes first, and whoever was writing from outside goes on.
    Helpful,
    /// Nobody outside lifts a finger, and the last process goes first.
    Alone,
}

/// Whether the run ends from here, whatever the people do.
pub fn ends(protocol: &Protocol, world: &World) -> bool {
    [Way::Helpful, Way::Alone].into_iter().all(|way| ends_in(protocol, world, way))
}

fn ends_in(protocol: &Protocol, world: &World, way: Way) -> bool {
    let mut world = world.clone();
    world.faults = 0;
    world.workers.iter_mut().for_each(|worker| worker.frozen = false);
    if way == Way::Alone {
        world.sweeping = None;
        world.outsiders = [Outsider::Done; 3];
    }
    for _ in 0..STEPS_MAX {
        if is_at_its_end(protocol, &world, way) {
            return true;
        }
        let Some(next) = action(&world, way).and_then(|action| protocol.apply(&world, action)) else { return false };
        world = next;
    }
    false
}

/// A dead run is at its end when nobody is there to replay it, or when it kills whoever works on it.
fn is_at_its_end(protocol: &Protocol, world: &World, way: Way) -> bool {
    let at_rest = world.workers.iter().all(|worker| worker.step == Step::Idle);
    let dead = world.head.status == Status::Dead && (way == Way::Alone || protocol.terms.kills);
    at_rest && (world.head.status == Status::Finished || dead)
}

fn action(world: &World, way: Way) -> Option<Action> {
    let mut order = [0, 1];
    if way == Way::Alone {
        order.reverse();
    }
    let busy = order.into_iter().find(|index| world.workers[*index].is_busy());
    let idle = order.into_iter().find(|index| world.workers[*index].step == Step::Idle);
    let visible = world.queue.first().is_some_and(|visible| *visible <= 0);
    let writing = |who: &usize| matches!(world.outsiders[*who], Outsider::Proposing { .. } | Outsider::Waking);
    let helps =
        |who| outside::proposals(world, who).into_iter().find(|event| *event != Event::Decided(Verdict::Denied));
    if let Some(index) = busy {
        return Some(Action::GoOn(index));
    }
    if !world.flights.is_empty() {
        return Some(Action::Land(0));
    }
    if let Some(index) = idle.filter(|_| visible) {
        return Some(Action::Receive(index));
    }
    if let Some(who) = (0..world.outsiders.len()).find(writing) {
        return Some(Action::Outside(who));
    }
    if let Some((who, event)) = [APPROVER, OPERATOR].into_iter().find_map(|who| Some((who, helps(who)?))) {
        return Some(Action::Propose(who, event));
    }
    if world.sweeping.is_some() {
        return Some(Action::SweepSends);
    }
    if outside::is_due(world) {
        return Some(Action::Sweep);
    }
    world.may_tick().then_some(Action::Tick)
}
