// Waiting with an end.

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Asks again and again until `ask` gives something true, and gives that; throws after `limit` milliseconds. */
export async function until(what, limit, ask, pause = 150) {
  const end = Date.now() + limit;
  let last;
  for (;;) {
    try {
      const answer = await ask();
      if (answer) return answer;
      last = answer;
    } catch (error) {
      if (error.final) throw error;
      last = error.message;
    }
    if (Date.now() > end) throw new Error(`not within ${limit / 1000} s: ${what} (last: ${JSON.stringify(last)})`);
    await sleep(pause);
  }
}

/** Puts what each promise gives into `target` under its name; waits for all of them, so that what did start can be ended. */
export async function gather(target, promises) {
  const names = Object.keys(promises);
  const results = await Promise.allSettled(Object.values(promises));
  results.forEach((result, at) => {
    if (result.status === "fulfilled") target[names[at]] = result.value;
  });
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
}
