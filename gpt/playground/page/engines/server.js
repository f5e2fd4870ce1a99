/**
 * The engine that queries play.py. The interface of an engine:
 *
 *   runs()                                     {chosen, runs}: every run in brief, and the one to show first
 *   describe(id)                               a run in full
 *   logits(model, ids, signal, off)            {shape: [N, V], data}: the prediction after each of N tokens, with the
 *                                              parts `off` of the run turned off, some of its description's `parts`
 *   inside(model, ids, row, signal)            the tensors of the forward pass over a window, for its token at `row`, as
 *                                              gpt/inspection/parts.py names them
 *   attention(model, ids, signal)              a tensor {shape: [H, T, T], data} per layer, of their last window
 *   interventions(model, ids, signal)          tensors: the logits after their last window with parts of the run turned
 *                                              off, or what changes with less text, as
 *                                              gpt/playground/intervening.py names them
 *   write(model, prompt, options, signal)      an async iterator of the continuation, piece by piece
 *   translate(id, sentence, options, signal)   {source, unknown, beams: [{text, score, ids, tokens, ended}]}
 *   crossAttention(id, sentence, target, signal)  a tensor {shape: [H, T, S], data} per layer
 *
 * A model is {run: id, moment}: the run as it was after so many iterations, one of its description's `moments`, or with
 * the weights that it is shown with if that is null.
 *
 * An AbortSignal cancels a request that is no longer needed. A failed request throws an Error with a one-line message.
 */
import { byLayer, parseSafetensors } from "./tensors.js";

export const runs = () => get("api/runs");

export const describe = (id) => get(`api/runs/${encodeURIComponent(id)}`);

export async function logits(model, ids, signal, off = []) {
  return (await tensors("api/logits", { ...model, ids, off }, signal)).logits;
}

export const inside = (model, ids, row, signal) => tensors("api/inside", { ...model, ids, row }, signal);

export async function attention(model, ids, signal) {
  return byLayer(await tensors("api/attention", { ...model, ids }, signal));
}

export const interventions = (model, ids, signal) => tensors("api/interventions", { ...model, ids }, signal);

export async function* write(model, prompt, options, signal) {
  const { temperature, topK, topP, tokens, seed } = options;
  const asked = { ...model, prompt, tokens, temperature, top_k: topK, top_p: topP, seed };
  const response = await post("api/text", asked, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream("utf-8", { ignoreBOM: true })).getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(explained);
    if (done) return;
    yield value;
  }
}

export async function translate(run, sentence, { beam, lengthPenalty }, signal) {
  return (await post("api/translations", { run, sentence, beam, length_penalty: lengthPenalty }, signal)).json();
}

export async function crossAttention(run, sentence, target, signal) {
  return byLayer(await tensors("api/cross_attention", { run, sentence, target }, signal));
}

async function get(path) {
  return (await answered(fetch(path))).json();
}

function post(path, asked, signal) {
  const headers = { "content-type": "application/json" };
  return answered(fetch(path, { method: "POST", headers, body: JSON.stringify(asked), signal }));
}

async function tensors(path, asked, signal) {
  return parseSafetensors(await (await post(path, asked, signal)).arrayBuffer());
}

async function answered(request) {
  const response = await request.catch(explained);
  if (response.ok) return response;
  const failure = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  throw new Error(failure.error);
}

function explained(error) {
  if (error.name === "AbortError") throw error;
  throw new Error("play.py no longer responds: start it again, then reload this page");
}
