// Light or dark: what the system asks for, until the user chooses. Charts draw their own pixels, so they read the colours
// from the style sheet again after a change.

type Changed = () => void;

const system = matchMedia("(prefers-color-scheme: dark)");
const watching = new Set<Changed>();
let chosen: boolean | undefined;

function apply(): void {
  document.documentElement.dataset["theme"] = themes.dark ? "dark" : "light";
  for (const changed of watching) changed();
}

export const themes = {
  get dark(): boolean {
    return chosen ?? system.matches;
  },
  set(dark: boolean): void {
    chosen = dark;
    apply();
  },
  /** Calls `changed` after each change. Returns what ends that. */
  watch(changed: Changed): () => void {
    watching.add(changed);
    return () => watching.delete(changed);
  },
};

/** The value of a colour of the style sheet. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

system.addEventListener("change", apply);
apply();
