/** Tasks for worker.js, which is started with the first one. */

/** @type {Worker | null} */
let worker = null;
let asking = 0;
/** @type {Map<number, {resolve: (result: any) => void, reject: (error: Error) => void}>} */
const waiting = new Map();
const listeners = new Map(); // to each training, by its name

/** The result of a task. */
export function asked(task, ...given) {
  worker ??= started();
  const id = asking++;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, task, given });
  });
}

/** Call a function with each Progress of a training. */
export function listen(name, progressed) {
  listeners.set(name, progressed);
}

function started() {
  const made = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  made.onmessage = ({ data: { id, result, error, training, progress } }) => {
    if (training) return listeners.get(training)?.(progress);
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  };
  made.onerror = (event) => {
    event.preventDefault();
    worker = null; // the next task starts another one
    for (const { reject } of waiting.values()) reject(new Error("this browser cannot compute here: try another one"));
    waiting.clear();
  };
  return made;
}
