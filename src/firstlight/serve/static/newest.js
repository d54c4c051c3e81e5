// Limits how many requests run at once; of the waiting ones, only the newest is kept.

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
