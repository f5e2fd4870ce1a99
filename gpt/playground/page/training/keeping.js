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

async function changed(change) {
  const opening = indexedDB.open(`gpt ${new URL(".", document.baseURI).pathname}`, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const database = await settled(opening);
  try {
    return await settled(change(database.transaction(STORE, "readwrite").objectStore(STORE)));
  } finally {
    database.close();
  }
}

function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(new Error(`this browser cannot keep it: ${request.error.message}`));
  });
}
