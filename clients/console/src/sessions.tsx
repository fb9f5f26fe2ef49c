// The screen of sessions: who is slow, and why.

import { useEffect, useRef, useState } from "preact/hooks";
import { type SessionEntry, type SessionsPage, ask, repeat } from "./broker.ts";
import { bytes, count, duration } from "./format.ts";
import { Rows } from "./rows.tsx";

const EVERY_MS = 2_000;
const MOST = 500;
const ROW = 30;

/** Why a session is slow, in words. */
export function why(session: SessionEntry, nowUs: number): string {
  const since = (at: number): string => duration(Math.max(0, nowUs - at));
  const reasons = [];
  if (session.stalled_since !== null) reasons.push(`takes no byte for ${since(session.stalled_since)}`);
  if (session.lagging_since !== null) {
    const behind = `${count(session.subscriptions_behind)} of ${count(session.subscriptions)} topics`;
    reasons.push(`${behind} behind since ${since(session.lagging_since)}`);
  } else if (session.waiting_bytes > 0) {
    reasons.push(`${bytes(session.waiting_bytes)} wait to be written`);
  }
  if (session.gapped > 0) reasons.push("it has missed messages");
  return reasons.join("; ") || "keeps up";
}

export function Sessions({ token, mayClose }: { token: string; mayClose: boolean }) {
  const [all, setAll] = useState(true);
  const [page, setPage] = useState<SessionsPage>();
  const [reason, setReason] = useState("");
  const [closing, setClosing] = useState<SessionEntry>();

  useEffect(
    () =>
      repeat(EVERY_MS, async () => {
        const answer = await ask<SessionsPage>(`/debug/sessions?top=${MOST}&all=${all}`, token);
        setReason(answer.reason);
        if (answer.value) setPage(answer.value);
        return answer.value !== undefined;
      }),
    [all, token],
  );

  const now = Date.now() * 1_000;
  const sessions = page?.slowest ?? [];
  return (
    <section aria-label="Sessions">
      <div class="bar">
        <span class="facts">
          Sessions: {count(page?.sessions ?? 0)}, lagging: {count(page?.lagging ?? 0)}
          {page && sessions.length === MOST ? `; the ${count(MOST)} slowest are shown` : ""}
        </span>
        <label class="check">
          <input type="checkbox" checked={!all} onChange={() => setAll(!all)} />
          Only those that are owed something
        </label>
      </div>
      {reason && <p class="notice">{reason}</p>}
      <Rows
        label="Sessions, the slowest first"
        rowHeight={ROW}
        minWidth="76rem"
        total={sessions.length}
        columns={[
          { name: "Session", width: "4.5rem" },
          { name: "State", width: "6rem" },
          { name: "Why" },
          { name: "Key", width: "7rem" },
          { name: "Address", width: "10rem" },
          { name: "Owed", width: "5rem", number: true },
          { name: "Waiting", width: "5rem", number: true },
          { name: "Oldest", width: "4.5rem", number: true },
          { name: "Conflated", width: "5.2rem", number: true },
          { name: "In gaps", width: "4.5rem", number: true },
          { name: "Topics", width: "4rem", number: true },
          ...(mayClose ? [{ name: "Close", width: "4.8rem" }] : []),
        ]}
        row={(at, tabIndex) => {
          const session = sessions[at];
          if (!session) return undefined;
          return {
            key: session.session,
            class: session.lagging_since === null ? "" : "slow",
            cells: [
              session.session,
              <span class={`state ${session.state.replace(" ", "-")}`}>{session.state}</span>,
              <span title={why(session, now)}>{why(session, now)}</span>,
              session.holder ?? "–",
              session.peer ?? "–",
              count(session.owed_messages),
              bytes(session.waiting_bytes),
              session.oldest_owed_us > 0 ? duration(session.oldest_owed_us) : "–",
              count(session.conflated),
              count(session.gapped),
              count(session.subscriptions),
              ...(mayClose
                ? [
                    <button type="button" tabIndex={tabIndex} onClick={() => setClosing(session)}>
                      Close<span class="hidden"> {session.session}</span>
                    </button>,
                  ]
                : []),
            ],
          };
        }}
        empty={all ? "Nobody is connected." : "Nobody is owed anything."}
      />
      {!mayClose && (
        <p class="hint">
          To close sessions, show the token of a static key with <code>close_sessions = true</code>.
        </p>
      )}
      {closing && <Confirm session={closing} token={token} done={() => setClosing(undefined)} />}
    </section>
  );
}

function Confirm({ session, token, done }: { session: SessionEntry; token: string; done(): void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [reason, setReason] = useState("");
  useEffect(() => dialog.current?.showModal(), []);
  const close = async (event: Event): Promise<void> => {
    event.preventDefault();
    const path = `/console/close?session=${encodeURIComponent(session.session)}`;
    const answer = await ask(path, token, "POST");
    setReason(answer.reason);
    if (!answer.reason) done();
  };
  return (
    <dialog ref={dialog} aria-labelledby="close-title" onClose={done}>
      <form onSubmit={close}>
        <h2 id="close-title">Close session {session.session}?</h2>
        <p>
          Its client at {session.peer ?? "an unknown address"} gets close code 1001 and may connect again. What it is owed is
          dropped; a client that resumes gets it then.
        </p>
        {reason && <p class="notice">{reason}</p>}
        <p class="buttons">
          <button type="button" onClick={done}>
            Keep it
          </button>
          <button type="submit" class="danger">
            Close it
          </button>
        </p>
      </form>
    </dialog>
  );
}
