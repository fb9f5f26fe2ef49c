// The page: its frame, its four screens, and what they have in common.

import "uplot/dist/uPlot.min.css";
import "./console.css";
import { render } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { type About, ask } from "./broker.ts";
import { Health } from "./health.tsx";
import { Market } from "./market.tsx";
import { Sessions } from "./sessions.tsx";
import { themes } from "./theme.ts";
import { Topics } from "./topics.tsx";

const SCREENS = ["market", "topics", "sessions", "health"] as const;
type Screen = (typeof SCREENS)[number];

/** The screen that the address names, and the rest of the address. */
function place(): [Screen, string] {
  // Nothing in it is ever encoded: a screen is a word, and a symbol is a token of a topic.
  const [name = "", rest = ""] = location.hash.slice(1).split("/", 2);
  return [SCREENS.find((screen) => screen === name) ?? "market", rest];
}

function App() {
  const [[screen, rest], setPlace] = useState(place);
  const [token, setToken] = useState("");
  const [about, setAbout] = useState<About>();
  const [problem, setProblem] = useState("");
  const main = useRef<HTMLElement>(null);
  const skip = (event: Event): void => {
    // The address names the screen, so the link must not change it.
    event.preventDefault();
    main.current?.focus();
  };

  useEffect(() => {
    const moved = (): void => setPlace(place());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);

  useEffect(() => {
    document.title = `${screen} – Tickwire`.replace(/^./, (first) => first.toUpperCase());
  }, [screen]);

  useEffect(() => {
    let timer = 0;
    const look = async (): Promise<void> => {
      const { value, reason } = await ask<About>("/console/about", token);
      setProblem(reason);
      if (value) setAbout(value);
      else timer = window.setTimeout(look, 3_000);
    };
    void look();
    return () => clearTimeout(timer);
  }, [token]);

  return (
    <>
      <header>
        <a class="skip" href="#main" onClick={skip}>
          Skip to the screen
        </a>
        <span class="brand">
          <svg viewBox="0 0 16 16" width="18" height="18" aria-hidden="true">
            <path d="M1 11l4-5 3 3 6-7" />
          </svg>
          Tickwire
        </span>
        <nav aria-label="Screens">
          {SCREENS.map((name) => (
            <a key={name} href={`#${name}`} aria-current={name === screen ? "page" : undefined}>
              {name}
            </a>
          ))}
        </nav>
        <Token about={about} token={token} setToken={setToken} />
        <ThemeButton />
      </header>
      <main id="main" ref={main} tabIndex={0}>
        <h1>{screen}</h1>
        {problem && (
          <p class="notice" role="alert">
            {problem}
          </p>
        )}
        {about && <View screen={screen} rest={rest} about={about} token={token} />}
      </main>
      <footer>
        <span>tickwire {about?.version}</span>
        <a href="https://www.tradingview.com/" rel="noreferrer noopener">
          Charts by TradingView
        </a>
      </footer>
    </>
  );
}

function View({ screen, rest, about, token }: { screen: Screen; rest: string; about: About; token: string }) {
  switch (screen) {
    case "health":
      return <Health token={token} />;
    case "sessions":
      return <Sessions token={token} mayClose={about.may_close} />;
    default:
      if (!about.data) return <p class="notice">{about.reason}</p>;
      return screen === "market" ? (
        <Market key={token} token={token} symbol={rest} />
      ) : (
        <Topics key={token} token={token} />
      );
  }
}

function Token({ about, token, setToken }: { about: About | undefined; token: string; setToken(token: string): void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const field = useRef<HTMLInputElement>(null);
  const done = (event: Event): void => {
    event.preventDefault();
    setToken(field.current?.value.trim() ?? "");
    dialog.current?.close();
  };
  return (
    <>
      <button type="button" class={about?.token ? "wanted" : ""} onClick={() => dialog.current?.showModal()}>
        {token && !about?.token ? (about?.holder ?? "Token") : "Token…"}
      </button>
      <dialog ref={dialog} aria-labelledby="token-title">
        <form onSubmit={done}>
          <h2 id="token-title">Token</h2>
          <p>
            The console reads topics with the rights of this token, or with those of a client without one. A static key with
            <code> close_sessions</code> may also close sessions. It is kept in this page only, until you leave it.
          </p>
          <label>
            Static key or JSON Web Token
            <input ref={field} type="password" autocomplete="off" spellcheck={false} defaultValue={token} />
          </label>
          {about?.token && token && <p class="notice">{about.reason}</p>}
          <p class="buttons">
            <button type="button" onClick={() => dialog.current?.close()}>
              Cancel
            </button>
            <button type="submit">Use it</button>
          </p>
        </form>
      </dialog>
    </>
  );
}

function ThemeButton() {
  const [dark, setDark] = useState(themes.dark);
  useLayoutEffect(() => themes.watch(() => setDark(themes.dark)), []);
  return (
    <button type="button" aria-pressed={dark} onClick={() => themes.set(!dark)}>
      Dark
    </button>
  );
}

const root = document.getElementById("app");
if (root) {
  root.textContent = "";
  render(<App />, root);
}
