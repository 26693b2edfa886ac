/** One note. */
export interface Note {
  readonly id: number;
  readonly text: string;
}

/** Notes in memory, in the order of their creation. */
export class Notes {
  readonly #notes: Note[] = [];

  add(text: unknown): Note {
    if (typeof text !== "string" || text.trim() === "") {
      throw new RangeError("a note needs a text");
    }
    const note = { id: this.#notes.length + 1, text: text.trim() };
    this.#notes.push(note);
    return note;
  }

  list(): readonly Note[] {
    return this.#notes;
  }
}
