/** Trainings that the reader keeps in this browser, over a reload: their runs and their weights, in its database. */
/** @import { Run, Tensors } from "../engines/server.js" */

const STORE = "trainings";

/** @type {(run: Run, weights: Tensors) => Promise<void>} */
export async function keep(run, weights) {
  await changed((store) => store.put({ run, weights }, run.id));
}

/** @returns {Promise<{run: Run, weights: Tensors}[]>} */
export async function kept() {
  return changed((store) => store.getAll()).catch(() => []); // a private window has no database
}

/** @param {string} id */
export async function forget(id) {
  await changed((store) => store.delete(id));
}

/** What a change of the store results in, once the browser has stored it: a request may succeed and be undone. */
async function changed(change) {
  const opening = indexedDB.open(`gpt ${new URL(".", document.baseURI).pathname}`, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  await ended(opening, "success", "error");
  const database = opening.result;
  try {
    const transaction = database.transaction(STORE, "readwrite");
    const request = change(transaction.objectStore(STORE));
    await ended(transaction, "complete", "abort");
    return request.result;
  } finally {
    database.close();
  }
}

/** @param {IDBRequest | IDBTransaction} work */
function ended(work, success, failure) {
  return new Promise((resolve, reject) => {
    work.addEventListener(success, resolve);
    work.addEventListener(failure, () => reject(new Error(`this browser has not stored it: ${work.error?.message}`)));
  });
}
