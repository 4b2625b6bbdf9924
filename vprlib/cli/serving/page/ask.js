// Requests to the service, with its token where it has one.
"use strict";

page.Refusal = class extends Error {
  constructor(status, sentence, seconds = 0) {
    super(sentence);
    this.status = status;
    this.seconds = seconds; // after which to ask again; 0: not by itself
  }
};

page.token = {
  get: () => sessionStorage.getItem("token") ?? "",
  set: (value) => sessionStorage.setItem("token", value),
};

// The response; a refusal is an error whose message is the sentence of the service.
page.ask = async (path, settings = {}) => {
  const token = page.token.get();
  const bytes = new TextEncoder().encode(token); // a header holds nothing else
  const headers = token ? { Authorization: `Bearer ${String.fromCharCode(...bytes)}` } : {};
  let response;
  try {
    response = await fetch(path, { ...settings, headers, cache: "no-store" });
  } catch {
    throw new page.Refusal(0, "The service cannot be reached: is it still running?");
  }
  if (response.ok) return response;
  if (response.status === 401) {
    throw new page.Refusal(401, token ? "This is not the token of the service." : "This service needs its token.");
  }
  let sentence = `The service answered with an error (${response.status}).`;
  try {
    sentence = (await response.json()).error ?? sentence;
  } catch {
    // not from the service itself, such as a proxy's page
  }
  const seconds = response.status === 503 ? Number(response.headers.get("retry-after")) || 0 : 0;
  throw new page.Refusal(response.status, sentence, seconds);
};

// Why a file cannot be asked; "" if it can, as far as the browser knows.
page.fault = async (file) => {
  if (file.type && !file.type.startsWith("image/")) return `${file.name} is not an image.`;
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    return `${file.name} cannot be read.`; // such as a folder
  }
  return file.size ? "" : `${file.name} is empty.`;
};

page.locate = async (photographs, fields) => {
  const body = new FormData();
  for (const photograph of photographs) body.append("photo", photograph, photograph.name || "photograph");
  for (const [name, value] of Object.entries(fields)) if (value) body.append(name, value);
  return (await page.ask("/v1/locate", { method: "POST", body })).json();
};

// Shows a picture of the map in an element.
page.show = async (image, address, held) => {
  const link = URL.createObjectURL(await (await page.ask(address)).blob());
  held.push(link);
  image.src = link;
};
