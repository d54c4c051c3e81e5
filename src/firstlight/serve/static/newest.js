// Work that is asked for faster than it is done: one at a time, and of what waits only the newest.

export function newest(work) {
  let working = false;
  let waiting = null;
  return async (asked) => {
    waiting = { asked };
    if (working) return;
    working = true;
    try {
      while (waiting) {
        const next = waiting.asked;
        waiting = null;
        await work(next);
      }
    } finally {
      working = false;
    }
  };
}
