// Work that is asked for faster than it is done: so many at a time, and of what waits only the newest.

export function newest(work, most = 1) {
  let working = 0;
  let waiting = null;
  return async (asked) => {
    waiting = { asked };
    if (working === most) return;
    working += 1;
    try {
      while (waiting) {
        const next = waiting.asked;
        waiting = null;
        await work(next);
      }
    } finally {
      working -= 1;
    }
  };
}
