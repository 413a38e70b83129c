// Dark or light, before anything is drawn. Without a choice of the user's, what the system says.
(() => {
  const chosen = new URLSearchParams(location.search).get('theme') || localStorage.getItem('theme');
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen;
})();
